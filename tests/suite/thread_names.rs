//! While a worker runs a named task, its thread has the task's name (Linux).

use std::fs::read_to_string;
use std::sync::Arc;

use crate::support::{on_every_dispatch, quiet_panics};

use formicary::{Dispatch, Pool};

/// The calling thread's name as the system shows it.
fn shown() -> String {
    read_to_string("/proc/thread-self/comm").unwrap().trim_end_matches('\n').to_owned()
}

fn names<D: Dispatch>() {
    quiet_panics();
    let pool = Pool::builder().workers(1).expiry(None).task_thread_names().dispatch::<D>().build().unwrap();
    let pool = Arc::new(pool);
    let own = pool.run(shown).unwrap();
    assert_eq!(own, "formicary-0");
    // The longest, one that is cut, one that is cut within a character, and one that is no name.
    let cases = [
        ("resize", "resize"),
        ("fifteen bytes..", "fifteen bytes.."),
        ("sixteen bytes...", "sixteen bytes.."),
        ("fourteen bytesä", "fourteen bytes"),
        ("thirteen byteä", "thirteen byteä"),
        ("", &*own),
    ];
    for (name, expected) in cases {
        assert_eq!(pool.with().name(name).run(shown).unwrap(), expected);
        assert_eq!(pool.run(shown).unwrap(), own, "after {name}");
    }

    // Also after a panic. Each `run` from outside is a task of its own.
    assert!(pool.with().name("broken").run(|| panic!("on purpose")).is_err());
    assert_eq!(pool.run(shown).unwrap(), own);

    // Within each other: with a name, and without one.
    let (inner, named) = (Arc::clone(&pool), Arc::clone(&pool));
    let outer = move || {
        let before = shown();
        let within = inner.with().name("inner").run(shown).unwrap();
        let between = shown();
        let unnamed = named.run(shown).unwrap();
        [before, within, between, unnamed, shown()]
    };
    let seen = pool.with().name("outer").run(outer).unwrap();
    assert_eq!(seen, ["outer", "inner", "outer", "outer", "outer"]);
    assert_eq!(pool.run(shown).unwrap(), own);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has these names")]
#[cfg_attr(miri, ignore = "Miri has no such file")]
fn a_thread_has_the_name_of_its_task() {
    on_every_dispatch!(names);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has these names")]
#[cfg_attr(miri, ignore = "Miri has no such file")]
fn a_thread_keeps_its_name_unless_asked() {
    let pool = Pool::builder().workers(1).build().unwrap();
    assert_eq!(pool.with().name("resize").run(shown).unwrap(), "formicary-0");
}
