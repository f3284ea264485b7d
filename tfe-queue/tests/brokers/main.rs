//! Real brokers keep the promises, and survive what happens to brokers.
//!
//! `TFE_TEST_REDIS` and `TFE_TEST_RABBITMQ` are URLs of servers that tests share, each under names of its own. What
//! would disturb others is done to a Redis of the test's own, or behind a proxy.

mod addresses;
mod encryption;
mod proxy;
mod rabbitmq;
mod redis;
mod redis_server;
mod sharing;
mod support;
