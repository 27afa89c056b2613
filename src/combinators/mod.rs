//! Ways of using a pool, written on top of the pools.

pub(crate) mod broadcast;
pub(crate) mod group;
pub(crate) mod limited;
pub(crate) mod map;
pub(crate) mod race;
pub(crate) mod scope;
