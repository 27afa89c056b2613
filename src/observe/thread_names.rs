//! Names of tasks as names of threads.

use crate::pool::builder::Builder;
use crate::queue::Dispatch;

impl<K, D: Dispatch> Builder<K, D> {
    /// Gives a worker's thread the name of the task that it runs, for tools of the system: `top -H`, `ps -L`, a debugger. Default: a thread
    /// keeps its own name.
    ///
    /// The thread is renamed while a task with a [name](crate::With::name) runs, to the first 15 bytes of that name, or fewer if these
    /// would end within a character. A task within another one gives it its own name, if it has one, and the outer one's comes back
    /// afterwards. When no named task runs, the thread has its own name again. [`std::thread::Thread::name`] does not change.
    ///
    /// Works on Linux and Android, where `/proc` is mounted; elsewhere it does nothing. Costs what an
    /// [observer](Self::observer) costs, two system calls for each task with a name (0.7 µs on the machine of
    /// `docs/observability.md`), and an open file for each thread that has run one.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).task_thread_names().build()?;
    /// # #[cfg(target_os = "linux")] {
    /// let name = pool.with().name("resize").run(|| std::fs::read_to_string("/proc/thread-self/comm"))??;
    /// assert_eq!(name, "resize\n");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn task_thread_names(self) -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.observer(linux::ThreadNames);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        self
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::cell::RefCell;
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};

    use crate::observe::{Observer, TaskEnd, TaskInfo};
    use crate::sync::thread_local;

    /// As many bytes of a name as the system keeps.
    const MAX_BYTES: usize = 15;

    thread_local! {
        static NAMES: RefCell<Names> = const { RefCell::new(Names { own: None, running: Vec::new() }) };
    }

    /// The names of a thread.
    struct Names {
        /// The file of its name, and the name that it had before the first task; `None` before the first named task, and if there is no file.
        own: Option<(File, String)>,
        /// Those of the tasks that run, from the outermost to the innermost; `None` for those without a name.
        running: Vec<Option<String>>,
    }

    pub(super) struct ThreadNames;

    impl Observer for ThreadNames {
        fn started(&self, task: &TaskInfo<'_>) {
            // A thread whose locals are gone keeps its name.
            _ = NAMES.try_with(|names| names.borrow_mut().begin(task.name));
        }

        fn ended(&self, task: &TaskInfo<'_>, _end: TaskEnd) {
            if task.run_time.is_some() {
                _ = NAMES.try_with(|names| names.borrow_mut().end());
            }
        }
    }

    impl Names {
        fn begin(&mut self, name: Option<&str>) {
            let name = name.map(cut).filter(|name| !name.is_empty());
            if let Some(name) = name {
                self.own = self.own.take().or_else(open);
                self.show(name);
            }
            self.running.push(name.map(str::to_owned));
        }

        fn end(&mut self) {
            if let Some(Some(_)) = self.running.pop() {
                let outer = self.running.iter().rev().flatten().next();
                let own = self.own.as_ref().map(|(_, own)| own);
                if let Some(name) = outer.or(own) {
                    self.show(name);
                }
            }
        }

        fn show(&self, name: &str) {
            if let Some((file, _)) = &self.own {
                // One write is one name. It fails in a child of `fork`, where the file is that of another process's thread.
                _ = (&mut &*file).write(name.as_bytes());
            }
        }
    }

    /// The file of the calling thread's name, and the name.
    fn open() -> Option<(File, String)> {
        let mut file = OpenOptions::new().read(true).write(true).open("/proc/thread-self/comm").ok()?;
        let mut name = Vec::new();
        file.read_to_end(&mut name).ok()?;
        let name = String::from_utf8_lossy(&name);
        Some((file, name.strip_suffix('\n').unwrap_or(&name).to_owned()))
    }

    /// The part of a name that the system shows.
    fn cut(name: &str) -> &str {
        let end = (0..=MAX_BYTES.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
        &name[..end.unwrap_or(0)]
    }
}
