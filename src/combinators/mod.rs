//! Ways of using a pool: fork and join, groups, scopes, maps, races, broadcasts, limited views.

pub(crate) mod broadcast;
pub(crate) mod fork_join;
pub(crate) mod group;
pub(crate) mod limited;
pub(crate) mod map;
pub(crate) mod race;
pub(crate) mod scope;
