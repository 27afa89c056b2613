//! The watchdog by a clock that the tests advance.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::sync::clock::scripted::Script;
use crate::task::watch::Start;

const LIMIT: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// How long a test waits for another thread.
const PATIENCE: Duration = Duration::from_secs(60);

/// A list of running tasks with a watchdog, which sends each task that it tells of.
struct Watched {
    list: Arc<RunningList>,
    watchdog: Arc<Watchdog>,
    told: Receiver<RunningTask>,
    panics: Arc<AtomicU64>,
}

impl Watched {
    fn new(timer: &'static Timer, before: impl Fn(&RunningTask) + Send + Sync + 'static) -> Self {
        let (sender, told) = channel();
        let (list, panics) = (Arc::<RunningList>::default(), Arc::<AtomicU64>::default());
        let handler = send_after(sender, before);
        let watchdog = Watchdog::new(Arc::clone(&list), LIMIT, handler, Arc::clone(&panics), timer);
        Watched { list, watchdog, told, panics }
    }

    fn start(&self, worker: usize) {
        let at = self.watchdog.timer.now();
        self.list.push(worker, &Start { name: None, queue_wait: None, at, task: None, is_from_queue: true });
        self.watchdog.note_start();
    }

    /// The worker and the depth of the next task that is told.
    fn next(&self) -> (usize, usize) {
        let task = self.told.recv_timeout(PATIENCE).unwrap();
        (task.worker, task.depth)
    }

    fn assert_nothing_more(&self) {
        assert!(self.told.try_recv().is_err());
    }
}

fn send_after(sender: Sender<RunningTask>, before: impl Fn(&RunningTask) + Send + Sync + 'static) -> Handler {
    let sender = Mutex::new(sender);
    Box::new(move |task| {
        before(task);
        sender.lock().send(task.clone()).unwrap();
    })
}

macro_rules! scripted {
    ($script:ident, $timer:ident) => {
        static $script: Script = Script::new();
        static $timer: Timer = Timer::scripted(&$script);
    };
}

/// Each task is told once, when its own time is up, and the alarm is set for the next.
#[test]
fn each_task_is_told_once_when_its_time_is_up() {
    scripted!(SCRIPT, TIMER);
    let (start, watched) = (SCRIPT.start(), Watched::new(&TIMER, |_| ()));
    watched.start(0);
    SCRIPT.advance(4 * SECOND);
    watched.start(1);
    assert_eq!(TIMER.alarms(), [start + LIMIT], "one alarm, for the first");
    SCRIPT.await_sleeper(start + LIMIT);
    SCRIPT.advance(6 * SECOND);
    assert_eq!(watched.next(), (0, 0));
    SCRIPT.await_sleeper(start + 4 * SECOND + LIMIT);
    watched.assert_nothing_more();
    // A task within the one that was told, which still runs.
    watched.start(0);
    SCRIPT.advance(4 * SECOND);
    assert_eq!(watched.next(), (1, 0));
    SCRIPT.await_sleeper(start + 2 * LIMIT);
    SCRIPT.advance(6 * SECOND);
    assert_eq!(watched.next(), (0, 1));
    watched.assert_nothing_more();
}

/// An alarm whose task has ended goes off for nothing, and an idle pool has none after it.
#[test]
fn an_idle_pool_has_no_alarm() {
    scripted!(SCRIPT, TIMER);
    let (start, watched) = (SCRIPT.start(), Watched::new(&TIMER, |_| ()));
    for _ in 0..3 {
        watched.start(0);
        watched.list.pop(0);
    }
    SCRIPT.await_sleeper(start + LIMIT);
    // One that the same alarm finds, and that is not due yet.
    SCRIPT.advance(LIMIT - SECOND);
    watched.start(0);
    assert_eq!(TIMER.alarms(), [start + LIMIT]);
    SCRIPT.advance(SECOND);
    SCRIPT.await_sleeper(start + 2 * LIMIT - SECOND);
    watched.list.pop(0);
    SCRIPT.advance(LIMIT - SECOND);
    // The timer's thread has nothing left to wait for but its own end.
    SCRIPT.await_sleeper(start + 2 * LIMIT);
    assert_eq!(TIMER.alarms(), []);
    watched.assert_nothing_more();
    assert!(watched.watchdog.state.lock().told.is_empty());
    // The next task sets one again.
    watched.start(2);
    assert_eq!(TIMER.alarms(), [start + 3 * LIMIT - SECOND]);
    drop(watched);
    assert_eq!(TIMER.alarms(), [], "it ends with the pool");
}

/// The handler may block and panic. It is not on the timer's thread, and what is due meanwhile is told in order.
#[test]
fn the_handler_may_block_and_panic() {
    scripted!(SCRIPT, TIMER);
    let start = SCRIPT.start();
    let (entered, gate) = (channel(), channel::<()>());
    let (gate_receiver, entered_sender) = (Mutex::new(gate.1), Mutex::new(entered.0));
    let watched = Watched::new(&TIMER, move |task| {
        entered_sender.lock().send(thread::current().name().map(str::to_owned)).unwrap();
        if task.worker == 0 {
            gate_receiver.lock().recv_timeout(PATIENCE).unwrap();
        }
        if task.worker == 1 {
            std::panic::resume_unwind(Box::new("a test's panic"));
        }
    });
    watched.start(0);
    SCRIPT.advance(SECOND);
    watched.start(1);
    SCRIPT.advance(SECOND);
    watched.start(2);
    SCRIPT.advance(LIMIT - 2 * SECOND);
    let thread = entered.1.recv_timeout(PATIENCE).unwrap();
    assert_eq!(thread.as_deref(), Some("formicary-watchdog"));
    // The timer serves on while the handler blocks.
    SCRIPT.await_sleeper(start + SECOND + LIMIT);
    SCRIPT.advance(SECOND);
    SCRIPT.await_sleeper(start + 2 * SECOND + LIMIT);
    SCRIPT.advance(SECOND);
    SCRIPT.await_sleeper(start + 3 * SECOND + LIMIT);
    watched.assert_nothing_more();
    gate.0.send(()).unwrap();
    assert_eq!((watched.next(), watched.next()), ((0, 0), (2, 0)));
    assert_eq!(watched.panics.load(Ordering::Relaxed), 1);
}

/// Without a timer thread a task that starts looks at the others, now and then.
#[test]
fn without_a_timer_thread_starts_look() {
    static SCRIPT: Script = Script::new();
    static TIMER: Timer = Timer::scripted_without_thread(&SCRIPT);
    let (start, watched) = (SCRIPT.start(), Watched::new(&TIMER, |_| ()));
    watched.start(0);
    assert_eq!(SCRIPT.now(), start, "no start sleeps");
    SCRIPT.advance(LIMIT - PAUSE_WITHOUT_TIMER / 2);
    watched.start(1);
    watched.assert_nothing_more();
    SCRIPT.advance(PAUSE_WITHOUT_TIMER / 2);
    watched.start(2);
    assert!(watched.watchdog.state.lock().told.is_empty(), "one looks again only after a pause");
    SCRIPT.advance(PAUSE_WITHOUT_TIMER / 2);
    watched.start(3);
    assert_eq!(watched.next(), (0, 0));
}
