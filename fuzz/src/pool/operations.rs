//! What a plan for a pool consists of.

use super::super::job::{Nested, What};
use super::super::states::Fault;
use super::super::subjects::Order;
use super::futures::FutureStep;
use super::scopes::Turn;
use super::submits::SubmitMode;
use super::views::ViewStep;

choices! {
    #[derive(Debug)]
    pub(super) enum Operation {
        Submit(SubmitMode, What),
        SubmitAll(u8, What),
        /// A thread of its own submits and blocks.
        Block(What),
        Call(What),
        CallWithLimit(What),
        CallWithToken(What, u8),
        Open,
        Cancel(u8),
        CancelHandle(u8),
        Join(u8),
        Detach(u8),
        Tune(u8),
        Pause,
        PauseFor,
        Resume,
        WaitIdle,
        Order(Order),
        Fault(Fault, u8),
        Shutdown,
        ShutdownTimeout,
        ShutdownNow,
        ShutdownGraceful,
        Restart,
        /// A thread of its own submits with a key and blocks.
        BlockKeyed(What, u8),
        /// A thread of its own calls.
        BlockCall(What),
        CallKeyed(What, u8),
        /// What a key may take, and that it stays in its shard.
        Fill(u8),
        Future(FutureStep),
        /// With one of three views.
        View(u8, ViewStep),
        /// So many jobs that borrow, and then some that spawn one another.
        Scope(u8, u8, What, Turn),
        /// The kept futures hold up no submitter.
        Pass,
        /// A full queue whose tasks are cancelled, by token or handle as these bits say, has its room again.
        Bury(u8, What),
        /// Closes it, and leaves it to its workers.
        LetGo,
        /// As many tasks as the pool and its views take, in turn or one after the other as the first bit says, from this on.
        Crowd(u8),
    }
}

impl Operation {
    /// What its jobs do.
    fn what(&self) -> Option<What> {
        match self {
            Self::Submit(_, what)
            | Self::SubmitAll(_, what)
            | Self::Block(what)
            | Self::Call(what)
            | Self::CallWithLimit(what)
            | Self::CallWithToken(what, _)
            | Self::BlockKeyed(what, _)
            | Self::BlockCall(what)
            | Self::CallKeyed(what, _)
            | Self::Scope(_, _, what, _)
            | Self::Bury(_, what) => Some(*what),
            Self::Future(step) => step.what(),
            Self::View(_, step) => step.what(),
            _ => None,
        }
    }

    pub(super) fn closes(&self) -> bool {
        self.what() == Some(What::Nest(Nested::Close))
    }
}
