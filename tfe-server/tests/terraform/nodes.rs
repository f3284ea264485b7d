//! Several servers on one database: all of them work, any of them may go.

use std::{thread, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    crash::go_in,
    fleet::Worker,
    harness::{Demo, finish, send, until},
    services::{Database, delete_queue, external, owned, queue_of_hints, variable},
    state::held,
};

const TOKEN: (&str, &str) = ("TFE_WORKER_TOKEN", "the-fleets-own-token");

const WAITING: &str = r#"
resource "terraform_data" "a" {
  provisioner "local-exec" { command = "echo waiting-for-go; while [ ! -e ${path.module}/go ]; do sleep 0.05; done" }
}
"#;

/// Two servers and two workers that know both.
struct Installation {
    nodes: [Demo; 2],
    workers: [Worker; 2],
    // Dropped last: the database is in use until then.
    database: Database,
}

impl Installation {
    fn start() -> Option<Self> {
        let (redis, rabbitmq) = (variable("TFE_TEST_REDIS")?, variable("TFE_TEST_RABBITMQ")?);
        let database = Database::create()?;
        let mut settings = external(&database.address, &database.name)?;
        settings.extend(owned(&[
            TOKEN,
            ("TFE_WORKER_EMBEDDED", "false"),
            ("TFE_REDIS_HOST", redis.trim_start_matches("redis://")),
            ("TFE_RABBITMQ_URL", &rabbitmq),
            ("TFE_LOG", "info"),
        ]));
        let first = Demo::serve(settings.clone());
        let second = first.join(settings);
        let urls = format!("{},{}", first.text("url"), second.text("url"));
        let workers = [Worker::start(&urls, TOKEN), Worker::start(&urls, TOKEN)];
        Some(Self { nodes: [first, second], workers, database })
    }

    /// What is known of the newest run of a workspace, for whoever reads why a test failed.
    fn tell(&self, node: usize, workspace: &str) {
        eprintln!("{:#}", self.nodes[node].runs(workspace)[0]);
        for worker in &self.workers {
            eprintln!("a worker said:\n{}", worker.said());
        }
    }
}

#[test]
fn an_apply_against_either_node_works_while_the_other_is_killed() {
    let Some(mut installation) = Installation::start() else { return };
    for (survivor, victim) in [(0, 1), (1, 0)] {
        let name = format!("either-{survivor}");
        let directory = {
            let project = installation.nodes[survivor].project(&name, WAITING);
            project.init();
            project.directory
        };
        let mut apply = installation.nodes[survivor].start_terraform(directory.path(), &["apply", "-auto-approve", "-no-color"]);
        installation.nodes[survivor].run_until(&name, &["applying"]);
        installation.nodes[victim].kill();
        // The worker that planned has the configuration too, so each is told.
        until("the apply to end", || {
            for worker in &installation.workers {
                go_in(&worker.work());
            }
            apply.try_wait().unwrap()
        });
        let applied = finish(apply);
        if !applied.status.success() {
            installation.tell(survivor, &name);
        }
        applied.succeeded().shows("Apply complete!");
        assert_eq!(held(&installation.nodes[survivor], &name), ["terraform_data.a"]);
        let listen = installation.nodes[victim].text("url").trim_start_matches("http://").to_owned();
        installation.nodes[victim].serve_again_at(&listen);
    }
    let nodes = installation.nodes[0].get("/api/v2/admin/nodes");
    assert_eq!(nodes["data"].as_array().unwrap().len(), 2, "{nodes}");
}

#[test]
fn brokers_that_are_wiped_lose_no_run() {
    let Some(installation) = Installation::start() else { return };
    let node = &installation.nodes[0];
    let projects: Vec<_> =
        (0..6).map(|number| node.project(&format!("wiped-{number}"), "resource \"terraform_data\" \"a\" {}\n")).collect();
    for project in &projects {
        project.init();
    }
    let applies: Vec<_> = projects.iter().map(|project| project.start(&["apply", "-auto-approve", "-no-color"])).collect();
    let queue = queue_of_hints(&installation.database.address, &installation.database.name);
    for _ in 0..10 {
        delete_queue(&variable("TFE_TEST_RABBITMQ").unwrap(), &queue);
        wipe_redis();
        thread::sleep(Duration::from_millis(200));
    }
    for apply in applies {
        finish(apply).succeeded().shows("Apply complete!");
    }
}

#[test]
fn a_frozen_node_holds_nobody_up_and_changes_nothing_when_it_thaws() {
    let Some(installation) = Installation::start() else { return };
    let [first, second] = &installation.nodes;
    let project = first.project("thawed", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    send(second.id(), Signal::SIGSTOP);
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    // Past every lease that it had.
    until("the frozen node to count as lost", || {
        let nodes = first.get("/api/v2/admin/nodes");
        nodes["data"].as_array()?.iter().any(|node| node["attributes"]["status"] == "lost").then_some(())
    });
    send(second.id(), Signal::SIGCONT);
    project.write("main.tf", "resource \"terraform_data\" \"b\" {}\n");
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    assert_eq!(held(first, "thawed"), ["terraform_data.b"]);
    until("the node to be up again", || {
        let nodes = first.get("/api/v2/admin/nodes");
        nodes["data"].as_array()?.iter().all(|node| node["attributes"]["status"] == "up").then_some(())
    });
}

/// Takes away everything that is in Redis.
fn wipe_redis() {
    let address: String = variable("TFE_TEST_REDIS").unwrap().trim_start_matches("redis://").to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let done = std::process::Command::new("redis-cli").args(["-h", host, "-p", port, "FLUSHALL"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
