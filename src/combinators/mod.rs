//! Ways of using a pool: groups, scopes, maps, races, broadcasts, limited views.

pub(crate) mod broadcast;
pub(crate) mod group;
pub(crate) mod limited;
pub(crate) mod map;
pub(crate) mod race;
pub(crate) mod scope;
