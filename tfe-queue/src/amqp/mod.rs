//! RabbitMQ 3.10 or later, as a queue.
//!
//! Hints are persistent messages of one quorum queue, which keeps them on most nodes of a cluster. A publisher waits
//! until the broker confirms them. The broker keeps no message that comes beyond [`topology`]'s limit, and says so.
//!
//! *Delays* are made of a few more queues, each with one fixed time after which the broker moves its messages into the
//! main one. A message says in a header how much delay is still left, and who receives it with some left sends it on.
//! With one time per queue the oldest message is always the first that is due; a time per message would not do, since a
//! broker looks at the first message of a queue only. <https://www.rabbitmq.com/docs/ttl#per-message-ttl-caveats>
//!
//! *The visibility timeout* is kept by the receiving process while it lives: it gives the message back. When the process
//! dies or loses its connection, the broker gives all that it held to others at once.
//!
//! *Priorities* do not exist in quorum queues of RabbitMQ 3.10, and hints have none.
//! <https://www.rabbitmq.com/docs/3.13/quorum-queues#feature-matrix>
//!
//! RabbitMQ 4 drops a message of a quorum queue that was given back twenty times; that is a hint whose receivers died
//! twenty times, and the look that everybody takes now and then finds what it was about.

mod address;
mod delivery;
mod publisher;
mod queue;
mod receiver;
mod session;
mod socket;
mod topology;

pub use queue::AmqpQueue;
