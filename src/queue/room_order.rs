//! How the lanes of a queue share its room.

use super::level::LevelTurns;

/// To which lane's blocked submitters room goes.
#[doc(hidden)]
#[derive(Debug)]
pub enum RoomOrder {
    /// Each lane leads to room of its own.
    Separate,
    /// The lanes share the room. The lane of the highest level comes first, and the others not too late.
    Levels(LevelTurns),
    /// The lanes share the room and take turns. `has_bounds` if each has a bound of its own besides.
    Turns { has_bounds: bool },
}

impl RoomOrder {
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self, RoomOrder::Separate)
    }

    /// Whether all blocked submitters wait for the same room, so that a newcomer leaves it to all of them.
    pub(crate) fn is_one_room(&self) -> bool {
        matches!(self, RoomOrder::Levels(_) | RoomOrder::Turns { has_bounds: false })
    }
}
