//! Deaths while a server is replaced, of either of the two processes.

use std::{fs, net::TcpStream};

use tfe_server::fail_points::{
    TAKE_OVER, TAKE_OVER_INHERITED, TAKE_OVER_OPENED, TAKE_OVER_READY, TAKE_OVER_STARTED, UPGRADE, UPGRADE_ANSWERED, UPGRADE_ASKED,
    UPGRADE_FINISHED, UPGRADE_HANDED_OVER, UPGRADE_READY, UPGRADE_STARTED,
};
use tfe_storage::fail_point::FailPoint;

use super::{died, doomed, kept::Kept, until_reached};
use crate::{
    harness::{Demo, until},
    upgrade::{address, refused, upgrade, upgraded},
};

/// Who serves after a death.
enum Serving {
    /// The process that was to be replaced.
    Before,
    Successor,
    /// Nobody, until whoever supervises the server starts it again.
    Nobody,
}

fn serving_after(point: FailPoint) -> Serving {
    match point {
        TAKE_OVER_STARTED | TAKE_OVER_INHERITED | TAKE_OVER_OPENED => Serving::Before,
        UPGRADE_HANDED_OVER | UPGRADE_READY | UPGRADE_ANSWERED | UPGRADE_FINISHED => Serving::Successor,
        UPGRADE_ASKED | UPGRADE_STARTED | TAKE_OVER_READY => Serving::Nobody,
        other => panic!("say who serves after a death at {}", other.name()),
    }
}

#[test]
fn a_server_that_dies_at_any_step_of_its_upgrade_is_followed_by_its_successor_or_itself() {
    for point in UPGRADE {
        dies_in_an_upgrade(*point);
    }
}

#[test]
fn a_successor_that_dies_at_any_step_is_no_loss() {
    for point in TAKE_OVER {
        dies_in_an_upgrade(*point);
    }
}

fn dies_in_an_upgrade(point: FailPoint) {
    let (home, settings) = doomed(point);
    let mut server = Demo::serve_in(home, settings);
    let mut kept = Kept::make(&server);
    let listen = address(&server);
    let asked = upgrade(&server, &[]);
    until_reached(server.home.path(), point);
    match serving_after(point) {
        Serving::Before => drop(asked.failed().shows("before it was ready")),
        Serving::Successor => {
            let status = server.wait();
            died(server.home.path(), point, status);
            server.succeeded_by(until("the successor", || successors(&server).pop()));
        }
        Serving::Nobody => {
            let status = server.wait();
            // The one that heard that it is replaced has ended well; it is the other one that died.
            if point != TAKE_OVER_READY {
                died(server.home.path(), point, status);
            }
            until("the end of a successor that got nothing", || successors(&server).is_empty().then_some(()));
            assert!(TcpStream::connect(&listen).is_err(), "nobody has the socket");
            server.serve_again_at(&listen);
        }
    }
    kept.check(&server);
    refused(&server);
    kept.add(&server);
    upgraded(&mut server);
    kept.check(&server);
}

/// The processes that were started to take over in this server's home.
fn successors(server: &Demo) -> Vec<u32> {
    let home = server.home.path().to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_successor = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(home) && line.contains("--take-over")
    };
    processes.filter(is_successor).collect()
}
