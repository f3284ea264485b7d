//! The queues in the broker.

use std::time::Duration;

use lapin::{
    Channel,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};

/// Most messages of each queue: some hundred megabytes of disk, and more than an installation can have to do.
const MAX_WAITING: i64 = 100_000;

/// The delays that have a queue, the longest first. Each is four times the next one, so every delay is the sum of a few,
/// to within the shortest of them; a longer one than the longest goes through that queue several times.
const STEPS: [Duration; 8] = [
    Duration::from_secs(4096),
    Duration::from_secs(1024),
    Duration::from_secs(256),
    Duration::from_secs(64),
    Duration::from_secs(16),
    Duration::from_secs(4),
    Duration::from_secs(1),
    Duration::from_millis(250),
];

/// The names of the queues.
#[derive(Debug, Clone)]
pub(super) struct Topology {
    main: String,
}

/// A part of a delay that one queue makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Step(Duration);

impl Topology {
    pub(super) fn new(name: &str) -> Self {
        Self { main: name.to_owned() }
    }

    /// The name of the queue of a step, or the main one's.
    pub(super) fn queue(&self, step: Option<Step>) -> String {
        match step {
            None => self.main.clone(),
            Some(Step(delay)) => format!("{}-delay-{}ms", self.main, delay.as_millis()),
        }
    }

    /// Makes a queue if it is missing.
    pub(super) async fn declare(&self, channel: &Channel, step: Option<Step>) -> lapin::Result<()> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(self.queue(step).into(), options, self.arguments(step)).await?;
        Ok(())
    }

    /// What a queue is. These are part of a queue's identity in the broker: to change one, change the names too.
    fn arguments(&self, step: Option<Step>) -> FieldTable {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("quorum"));
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_WAITING));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        if let Some(Step(delay)) = step {
            let milliseconds = i64::try_from(delay.as_millis()).expect("steps are hours at most");
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(milliseconds));
            arguments.insert("x-dead-letter-exchange".into(), text(""));
            arguments.insert("x-dead-letter-routing-key".into(), text(&self.main));
            // The message stays until it has arrived in the main queue.
            arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        }
        arguments
    }
}

impl Step {
    /// The next step of a delay, and how much delay is left after it. None when no delay is left.
    pub(super) fn of(delay: Duration) -> Option<(Self, Duration)> {
        if delay.is_zero() {
            return None;
        }
        let shortest = STEPS[STEPS.len() - 1];
        let step = STEPS.into_iter().find(|step| *step <= delay).unwrap_or(shortest);
        Some((Self(step), delay.saturating_sub(step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_to_the_delay_or_just_above_it() {
        for milliseconds in [1, 249, 250, 251, 1_000, 5_000, 29_999, 3_600_000, 100_000_000] {
            let delay = Duration::from_millis(milliseconds);
            let (mut left, mut sum, mut count) = (delay, Duration::ZERO, 0);
            while let Some((Step(step), rest)) = Step::of(left) {
                (left, sum, count) = (rest, sum + step, count + 1);
            }
            assert!(sum >= delay && sum < delay + Duration::from_millis(250), "{delay:?} became {sum:?}");
            assert!(count <= 8 * 3 + milliseconds / 4_096_000, "{delay:?} took {count} steps");
        }
        assert_eq!(Step::of(Duration::MAX).map(|(step, _)| step), Some(Step(STEPS[0])));
    }
}
