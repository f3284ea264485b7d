//! Deaths while the key is rotated, and while everything is sealed anew.

use serde_json::{Value, json};
use tfe_storage::fail_point::{FailPoint, RESEALING, ROTATION, ROTATION_DRAFTED, ROTATION_RENAMED};

use super::{died, dies_at_its_start, doomed, dying_at, kept::Kept};
use crate::{
    harness::{Demo, until},
    services::owned,
    upgrade::address,
};

const KEYS: &str = "/api/v2/admin/keys";

/// A server that will die at the point, with something sealed.
fn prepared(point: FailPoint) -> (Demo, Kept) {
    let mut server = Demo::serve(owned(&[]));
    let kept = Kept::make(&server);
    let listen = address(&server);
    // The first keyring is written as the next ones are.
    server.kill();
    server.set(dying_at(point, server.home.path()));
    server.serve_again_at(&listen);
    (server, kept)
}

#[test]
fn a_death_while_the_first_keyring_is_written_is_in_nobodys_way() {
    for point in [ROTATION_DRAFTED, ROTATION_RENAMED] {
        let (home, settings) = doomed(point);
        dies_at_its_start(home.path(), &settings, point);
        let server = Demo::serve_in(home, settings);
        Kept::make(&server).check(&server);
    }
}

#[test]
fn a_death_at_any_step_of_a_rotation_loses_no_key() {
    for point in ROTATION {
        let (mut server, mut kept) = prepared(*point);
        let listen = address(&server);
        assert_eq!(act(&server, "rotate").0, 0, "nobody answers at {}", point.name());
        let status = server.wait();
        died(server.home.path(), *point, status);
        server.serve_again_at(&listen);
        kept.check(&server);
        kept.add(&server);
        assert_eq!(act(&server, "rotate").0, 200, "it is rotated now");
        assert_eq!(act(&server, "rewrap").0, 202);
        assert!(resealed(&server)["changed"].as_u64().unwrap() > 0);
        kept.check(&server);
        // What is on the disk is all that the next process has.
        server.kill();
        server.serve_again_at(&listen);
        kept.check(&server);
    }
}

#[test]
fn after_a_death_at_any_step_of_sealing_anew_the_next_process_goes_on() {
    for point in RESEALING {
        let (mut server, mut kept) = prepared(*point);
        let listen = address(&server);
        assert_eq!(act(&server, "rotate").0, 200);
        act(&server, "rewrap");
        let status = server.wait();
        died(server.home.path(), *point, status);
        server.serve_again_at(&listen);
        kept.check(&server);
        kept.add(&server);
        // Nobody asks once more.
        resealed(&server);
        kept.check(&server);
        assert_eq!(act(&server, "rewrap").0, 202);
        assert_eq!(resealed(&server)["changed"], 0, "all has the newest key");
    }
}

fn act(server: &Demo, action: &str) -> (u16, String) {
    server.answer("POST", &format!("{KEYS}/actions/{action}"), &json!({}))
}

/// Waits until everything is sealed anew. How that went.
fn resealed(server: &Demo) -> Value {
    until("everything to be sealed anew", || {
        let progress = server.get(KEYS)["data"]["attributes"]["rewrap"].clone();
        (progress["status"] == "finished").then_some(progress)
    })
}
