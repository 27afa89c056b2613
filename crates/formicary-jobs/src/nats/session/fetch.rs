//! Asks for jobs, and ends deliveries that are in the way.
//!
//! A server writes the state of a consumer in the background, so that of a server that was killed may be older than its stream: acknowledged
//! jobs are gone from the stream, and still delivered in the eyes of the consumer. When their lease ends, it tries to deliver them again, and
//! finds no message. Servers of 2.9 then say nothing to whoever asked, keep the delivery, and try again when the next lease has ended. With
//! enough of these, no other job ever comes.

use std::time::Instant;

use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::{AckKind, Message};
use futures_util::future::{FutureExt, try_join_all};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::time::timeout;

use super::{Session, UNDER_WAY, is_missing};
use crate::error::BoxError;

impl Session {
    /// At most `n` jobs of a kind: those that are there.
    pub(super) async fn fetch(
        &mut self,
        kind: &str,
        n: usize,
    ) -> Result<impl Stream<Item = Result<Message, BoxError>> + use<>, BoxError> {
        let consumer = self.consumer(kind).await?;
        let ask = async || consumer.fetch().max_messages(n).messages().await;
        let mut messages = ask().await?;
        // The answer comes at once: a job, or that there is none.
        if let Ok(first) = timeout(self.limit / 2, messages.next()).await {
            return Ok(stream::iter(first).chain(messages));
        }
        // Unless the server is slow. Its answer to another request says that it is not any more.
        let info = consumer.get_info().await?;
        if let Some(first) = messages.next().now_or_never() {
            return Ok(stream::iter(first).chain(messages));
        }
        // Nothing is delivered to this request any more when the server reads the next one.
        drop(messages);
        self.end_removed(kind, &info).await?;
        messages = ask().await?;
        let first = messages.next().await;
        Ok(stream::iter(first).chain(messages))
    }

    /// Acknowledges what was delivered and is no longer in the stream. A message that is there is let alone: it may run somewhere.
    async fn end_removed(&mut self, kind: &str, info: &Info) -> Result<(), BoxError> {
        let start = Instant::now();
        let last = info.delivered.stream_sequence;
        let mut next = info.ack_floor.stream_sequence.max(self.looked_at.remove(kind).unwrap_or(0)) + 1;
        while next <= last {
            if start.elapsed() > self.limit / 2 {
                self.looked_at.insert(kind.to_owned(), next - 1);
                break;
            }
            let some = next..=last.min(next + UNDER_WAY as u64 - 1);
            next = some.end() + 1;
            try_join_all(some.map(|sequence| self.end_if_removed(kind, sequence))).await?;
        }
        Ok(())
    }

    async fn end_if_removed(&self, kind: &str, sequence: u64) -> Result<(), BoxError> {
        match self.jobs.get_raw_message(sequence).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(error.kind()) => {
                // Of what a token says, the server needs the sequence: see `delivered`.
                self.acknowledge(&format!("$JS.ACK.{}.{kind}.1.{sequence}.0.0.0", self.name), AckKind::Ack).await
            }
            Err(error) => Err(error.into()),
        }
    }
}
