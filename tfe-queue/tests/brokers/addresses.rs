//! Addresses: what is refused, and that no password is ever shown.

use tfe_queue::{CoordinationOptions, OpenError, QueueOptions, open_coordination, open_queue};

use super::{
    redis_server::RedisServer,
    support::{bounded, eventually, open_node, queue_options, rabbitmq, redis, unique_name},
};

const PASSWORD: &str = "s3cr3t-and-wrong";

#[tokio::test]
async fn memory_is_an_address() {
    open_queue("memory:", QueueOptions::default()).unwrap().check().await.unwrap();
    open_coordination("memory:", CoordinationOptions::default()).unwrap().check().await.unwrap();
}

#[tokio::test]
async fn what_is_no_address_is_refused_without_being_shown() {
    for url in ["", "nothing", "http://u:s3cr3t-and-wrong@h", "amqps", "postgres://u:s3cr3t-and-wrong@h"] {
        let error = open_queue(url, QueueOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::UnknownScheme(_)), "{url}: {error}");
        assert_hidden(&error);
    }
    for url in ["redis://u:s3cr3t-and-wrong@h:port", "rediss://", "amqp://u:s3cr3t-and-wrong@h:port", "amqps://u:s3cr3t-and-wrong@h:99999"]
    {
        let error = open_queue(url, QueueOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::Malformed(_)), "{url}: {error}");
        assert_hidden(&error);
    }
    let error = open_coordination("amqp://h", CoordinationOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "the address must begin with memory:, redis:// or rediss://");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_not_shown() {
    let (Some(_), Some(rabbitmq)) = (redis(), rabbitmq()) else { return };
    let server = RedisServer::with_password("right").await;
    let redis = server.url().replace("redis://", &format!("redis://:{PASSWORD}@"));
    let rabbitmq = rabbitmq.replace("guest:guest", &format!("guest:{PASSWORD}"));
    for url in [redis.as_str(), &rabbitmq] {
        let queue = open_queue(url, queue_options(&unique_name())).unwrap();
        assert_hidden(&queue);
        assert_hidden(&bounded(queue.check()).await.unwrap_err());
    }
    let node = open_node(&redis, "tfe");
    assert_hidden(&node);
    assert_hidden(&bounded(node.check()).await.unwrap_err());
    // The right one works.
    let queue = open_queue(&redis.replace(PASSWORD, "right"), queue_options("hints")).unwrap();
    eventually("the password is taken", || async { queue.check().await.is_ok() }).await;
}

fn assert_hidden(value: &impl std::fmt::Debug) {
    let text = format!("{value:#?}");
    assert!(!text.contains(PASSWORD), "{text}");
}
