//! A connection to a NATS server, and what is done with it.

mod fetch;

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RawMessageErrorKind, RetentionPolicy, Stream};
use async_nats::jetstream::{self, AckKind, Context, Message};
use async_nats::{Client, ConnectOptions, HeaderMap};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};

use crate::error::BoxError;
use crate::job::Push;
use crate::store::{Counts, Dead, Lease, Pushed, Reserved, Settle};

/// Headers of jobs and dead letters.
const VERSION: &str = "Formicary-Version";
const KEY: &str = "Formicary-Key";
const ATTEMPT: &str = "Formicary-Attempt";
const ATTEMPTS: &str = "Formicary-Attempts";
const ERROR: &str = "Formicary-Error";

/// How many requests are sent before the server has answered the first of them.
const UNDER_WAY: usize = 128;

pub(super) struct Setup {
    pub(super) url: String,
    pub(super) name: String,
    pub(super) limit: Duration,
    pub(super) keep_keys: Duration,
    pub(super) lease: Duration,
    pub(super) replicas: usize,
}

pub(super) struct Session {
    name: String,
    limit: Duration,
    lease: Duration,
    client: Client,
    context: Context,
    jobs: Stream,
    dead: Stream,
    released: Stream,
    consumers: HashMap<String, PullConsumer>,
    /// Of each kind, up to where `end_removed` has come, if there was no time for all.
    looked_at: HashMap<String, u64>,
}

impl Session {
    pub(super) async fn connect(setup: &Setup) -> Result<Self, BoxError> {
        let Setup { url, name, limit, keep_keys, lease, replicas } = setup;
        let options = ConnectOptions::new().connection_timeout(*limit).request_timeout(Some(*limit));
        let client = options.connect(url).await?;
        let context =
            jetstream::context::ContextBuilder::new().timeout(*limit).ack_timeout(*limit).build(client.clone());
        let stream = |name: String, config: Config| {
            let subjects = vec![format!("{name}.*")];
            context.get_or_create_stream(Config { name, subjects, num_replicas: *replicas, ..config })
        };
        let queue = Config { retention: RetentionPolicy::WorkQueue, duplicate_window: *keep_keys, ..Config::default() };
        let latest = Config { max_messages_per_subject: 1, ..Config::default() };
        Ok(Session {
            jobs: stream(name.clone(), queue).await?,
            dead: stream(format!("{name}-dead"), Config::default()).await?,
            released: stream(format!("{name}-released"), latest).await?,
            name: name.clone(),
            limit: *limit,
            lease: *lease,
            client,
            context,
            consumers: HashMap::new(),
            looked_at: HashMap::new(),
        })
    }

    pub(super) async fn push(&self, jobs: &[Push]) -> Result<Vec<Pushed>, BoxError> {
        let mut pushed = Vec::new();
        for jobs in jobs.chunks(UNDER_WAY) {
            let mut under_way = Vec::new();
            for Push { kind, version, payload, key, attempts } in jobs {
                let mut headers = job_headers(*version, key.as_deref(), *attempts);
                if let Some(key) = key {
                    headers.insert(async_nats::header::NATS_MESSAGE_ID, key.as_str());
                }
                let subject = format!("{}.{kind}", self.name);
                under_way.push(self.context.publish_with_headers(subject, headers, payload.clone().into()).await?);
            }
            for acknowledgement in under_way {
                let stored = acknowledgement.await?;
                pushed.push(if stored.duplicate {
                    Pushed::Duplicate
                } else {
                    Pushed::New(stored.sequence.to_string())
                });
            }
        }
        Ok(pushed)
    }

    pub(super) async fn kinds(&self) -> Result<Vec<String>, BoxError> {
        let mut subjects = self.jobs.info_with_subjects(format!("{}.*", self.name)).await?;
        let mut kinds = Vec::new();
        while let Some(subject) = subjects.next().await {
            kinds.push(kind_of(&subject?.0));
        }
        Ok(kinds)
    }

    async fn consumer(&mut self, kind: &str) -> Result<PullConsumer, BoxError> {
        if let Some(consumer) = self.consumers.get(kind) {
            return Ok(consumer.clone());
        }
        let config = pull::Config {
            durable_name: Some(kind.to_owned()),
            filter_subject: format!("{}.{kind}", self.name),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.lease,
            max_deliver: -1,
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let consumer = self.jobs.create_consumer(config).await?;
        self.consumers.insert(kind.to_owned(), consumer.clone());
        Ok(consumer)
    }

    pub(super) async fn reserve(&mut self, kind: &str, n: usize) -> Result<Vec<Reserved>, BoxError> {
        let messages: Vec<Message> = self.fetch(kind, n).await?.try_collect().await?;
        // Side by side: after a kill all of them were delivered before, and the call has one time limit.
        let released = try_join_all(messages.iter().map(|message| self.released_before(message))).await?;
        let mut jobs = Vec::new();
        for (message, released) in messages.into_iter().zip(released) {
            let id = message.info()?.stream_sequence.to_string();
            let Some(token) = message.reply.as_ref().map(ToString::to_string) else { continue };
            let headers = message.headers.clone().unwrap_or_default();
            let attempt = delivered(&token).saturating_sub(released);
            let job = Reserved {
                lease: Lease { id, token },
                version: number(&headers, VERSION),
                payload: message.payload.to_vec(),
                key: text(&headers, KEY),
                attempt,
                attempts: number(&headers, ATTEMPTS).max(1),
            };
            if job.attempt > job.attempts {
                let error = format!("the lease ended in attempt {}: its process died or stalled", job.attempts);
                self.bury(
                    kind,
                    job.version,
                    job.key.as_deref(),
                    (job.attempts, job.attempts),
                    &error,
                    job.payload,
                    &job.lease,
                )
                .await?;
            } else {
                jobs.push(job);
            }
        }
        Ok(jobs)
    }

    /// How often the job of a message was released. Asks only where it was delivered before.
    async fn released_before(&self, message: &Message) -> Result<u32, BoxError> {
        let is_first = message.reply.as_ref().is_none_or(|token| delivered(token) == 1);
        if is_first { Ok(0) } else { self.released(&message.info()?.stream_sequence.to_string()).await }
    }

    /// How often a job was released.
    async fn released(&self, id: &str) -> Result<u32, BoxError> {
        match self.released.get_last_raw_message_by_subject(&format!("{}-released.{id}", self.name)).await {
            Ok(message) => Ok(String::from_utf8_lossy(&message.payload).parse().unwrap_or(0)),
            Err(error) if is_missing(error.kind()) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what ends or extends a delivery, and waits until the server has it.
    async fn acknowledge(&self, token: &str, kind: AckKind) -> Result<(), BoxError> {
        self.client.request(token.to_owned(), kind.into()).await?;
        Ok(())
    }

    pub(super) async fn extend(&self, tokens: &[&str]) -> Result<(), BoxError> {
        try_join_all(tokens.iter().map(|token| self.acknowledge(token, AckKind::Progress))).await?;
        Ok(())
    }

    pub(super) async fn settle(&self, ends: &[&(Lease, Settle)]) -> Result<(), BoxError> {
        try_join_all(ends.iter().map(|(lease, end)| self.settle_one(lease, end))).await?;
        Ok(())
    }

    async fn settle_one(&self, lease: &Lease, end: &Settle) -> Result<(), BoxError> {
        match end {
            Settle::Done => self.acknowledge(&lease.token, AckKind::Ack).await?,
            Settle::Retry { after, .. } => {
                let after = (!after.is_zero()).then_some(*after);
                return self.acknowledge(&lease.token, AckKind::Nak(after)).await;
            }
            Settle::Release => {
                let released = self.released(&lease.id).await? + 1;
                let subject = format!("{}-released.{}", self.name, lease.id);
                self.context.publish(subject, released.to_string().into()).await?.await?;
                return self.acknowledge(&lease.token, AckKind::Nak(None)).await;
            }
            Settle::Bury { error } => {
                let message = match self.jobs.get_raw_message(lease.id.parse()?).await {
                    Ok(message) => message,
                    // It was buried, and the answer was lost.
                    Err(error) if is_missing(error.kind()) => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                let (headers, released) = (&message.headers, self.released(&lease.id).await?);
                let attempt = delivered(&lease.token).saturating_sub(released);
                let attempts = (attempt, number(headers, ATTEMPTS));
                let (kind, key) = (kind_of(&message.subject), text(headers, KEY));
                let payload = message.payload.to_vec();
                self.bury(&kind, number(headers, VERSION), key.as_deref(), attempts, error, payload, lease).await?;
            }
        }
        if delivered(&lease.token) > 1 {
            self.released.purge().filter(format!("{}-released.{}", self.name, lease.id)).await?;
        }
        Ok(())
    }

    /// Stores a dead letter, and removes its job. `attempts` is how many there were, and how many there may be.
    #[allow(clippy::too_many_arguments)]
    async fn bury(
        &self,
        kind: &str,
        version: u32,
        key: Option<&str>,
        attempts: (u32, u32),
        error: &str,
        payload: Vec<u8>,
        lease: &Lease,
    ) -> Result<(), BoxError> {
        let mut headers = job_headers(version, key, attempts.1);
        headers.insert(ATTEMPT, attempts.0.to_string());
        // A header is a line.
        headers.insert(ERROR, error.replace(['\r', '\n'], " "));
        // The server stores one of those that were sent in two minutes.
        headers.insert(async_nats::header::NATS_MESSAGE_ID, lease.id.as_str());
        let subject = format!("{}-dead.{kind}", self.name);
        self.context.publish_with_headers(subject, headers, payload.into()).await?.await?;
        self.acknowledge(&lease.token, AckKind::Ack).await
    }

    pub(super) async fn dead(&self, at_most: usize) -> Result<Vec<Dead>, BoxError> {
        let subject = format!("{}-dead.*", self.name);
        let (mut dead, mut next) = (Vec::new(), 1);
        while dead.len() < at_most {
            let message = match self.dead.raw_message_builder().sequence(next).next_by_subject(&subject).send().await {
                Ok(message) => message,
                Err(error) if is_missing(error.kind()) => break,
                Err(error) => return Err(error.into()),
            };
            next = message.sequence + 1;
            dead.push(Dead {
                id: message.sequence.to_string(),
                kind: kind_of(&message.subject),
                version: number(&message.headers, VERSION),
                payload: message.payload.to_vec(),
                key: text(&message.headers, KEY),
                attempt: number(&message.headers, ATTEMPT),
                error: text(&message.headers, ERROR).unwrap_or_default(),
            });
        }
        Ok(dead)
    }

    /// Removes dead letters, and makes jobs of them before if they are to be replayed.
    pub(super) async fn end_dead(&self, ids: &[String], replay: bool) -> Result<usize, BoxError> {
        let mut ended = 0;
        for sequence in ids.iter().filter_map(|id| id.parse().ok()) {
            let message = match self.dead.get_raw_message(sequence).await {
                Ok(message) => message,
                Err(error) if is_missing(error.kind()) => continue,
                Err(error) => return Err(error.into()),
            };
            if replay {
                let (headers, kind) = (&message.headers, kind_of(&message.subject));
                let mut again =
                    job_headers(number(headers, VERSION), text(headers, KEY).as_deref(), number(headers, ATTEMPTS));
                again.insert(async_nats::header::NATS_MESSAGE_ID, format!("formicary-replay-{sequence}"));
                self.context
                    .publish_with_headers(format!("{}.{kind}", self.name), again, message.payload)
                    .await?
                    .await?;
            }
            self.dead.delete_message(sequence).await?;
            ended += 1;
        }
        Ok(ended)
    }

    pub(super) async fn counts(&self) -> Result<Counts, BoxError> {
        let mut counts = Counts { dead: self.dead.get_info().await?.state.messages, ..Counts::default() };
        let mut kinds = Vec::new();
        let mut consumers = self.jobs.consumers();
        while let Some(consumer) = consumers.next().await {
            let consumer = consumer?;
            counts.ready += consumer.num_pending;
            counts.reserved += consumer.num_ack_pending as u64;
            kinds.push(consumer.config.filter_subject);
        }
        // The messages of a kind that has a consumer are not counted: a server before 2.10 that is killed may keep some that were acknowledged.
        let mut subjects = self.jobs.info_with_subjects(format!("{}.*", self.name)).await?;
        while let Some(subject) = subjects.next().await {
            let (subject, messages) = subject?;
            if !kinds.contains(&subject) {
                counts.ready += messages as u64;
            }
        }
        Ok(counts)
    }
}

fn job_headers(version: u32, key: Option<&str>, attempts: u32) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(VERSION, version.to_string());
    headers.insert(ATTEMPTS, attempts.to_string());
    if let Some(key) = key {
        headers.insert(KEY, key);
    }
    headers
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.as_str().to_owned())
}

fn number(headers: &HeaderMap, name: &str) -> u32 {
    headers.get(name).and_then(|value| value.as_str().parse().ok()).unwrap_or(0)
}

/// Of `{name}.{kind}`; names have no dots.
fn kind_of(subject: &str) -> String {
    subject.rsplit('.').next().unwrap_or_default().to_owned()
}

/// Of a token: `$JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERED.SEQUENCE.…`, by the length that says which of the two it is.
fn delivered(token: &str) -> u32 {
    let parts: Vec<&str> = token.split('.').collect();
    let place = if parts.len() > 9 { 6 } else { 4 };
    parts.get(place).and_then(|part| part.parse().ok()).unwrap_or(1)
}

fn is_missing(kind: RawMessageErrorKind) -> bool {
    kind == RawMessageErrorKind::NoMessageFound
}
