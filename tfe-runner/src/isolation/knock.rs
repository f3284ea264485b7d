//! Whether a run's network is really bounded: an attempt to reach a port of this machine, as a run would make it.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use super::{Network, NetworkLevel, Sandbox, confine, filter, landlocked, launcher::KNOCK};

/// A local connection takes less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);
/// In place of a user.
const SAME_USER: &str = "same";

/// The strongest level at which a sandbox's user does not reach this machine.
pub(super) fn level(supervisor: &[OsString], sandbox: &Sandbox) -> io::Result<NetworkLevel> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let reaches = |level| reaches(supervisor, sandbox.user, level, port);
    if let Some(user) = sandbox.user {
        // A supervisor that was killed could not take its filter away.
        let _ = filter::remove(user);
    }
    if !reaches(NetworkLevel::Open)? {
        return Err(io::Error::other("a port of this machine cannot be reached at all, so nothing about it can be tried"));
    }
    if let Some(user) = sandbox.user {
        let network = Network { level: NetworkLevel::Addresses, ..Network::default() };
        let is_held = filter::put(user, &network).is_ok() && !reaches(NetworkLevel::Addresses)?;
        let _ = filter::remove(user);
        if is_held {
            return Ok(NetworkLevel::Addresses);
        }
    }
    Ok(if reaches(NetworkLevel::Ports)? { NetworkLevel::Open } else { NetworkLevel::Ports })
}

fn reaches(supervisor: &[OsString], user: Option<u32>, level: NetworkLevel, port: u16) -> io::Result<bool> {
    let (program, words) = supervisor.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let user = user.map_or_else(|| SAME_USER.to_owned(), |user| user.to_string());
    let mut command = Command::new(program);
    command.args(words).args([KNOCK, &user, level.as_str(), &port.to_string()]).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command.status()?.success())
}

/// Tries to reach the port, as that user, with what the level does to a process.
pub(super) fn run(arguments: &mut dyn Iterator<Item = OsString>) -> io::Result<ExitCode> {
    let mut next = || arguments.next().and_then(|word| word.into_string().ok()).ok_or(io::ErrorKind::InvalidInput);
    let (user, level, port) = (next()?, next()?, next()?);
    let port: u16 = port.parse().map_err(io::Error::other)?;
    confine::give_up_rights(if user == SAME_USER { None } else { Some(user.parse().map_err(io::Error::other)?) })?;
    if level == NetworkLevel::Ports.as_str() {
        landlocked::close_ports(&[port].into())?;
    }
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    Ok(ExitCode::SUCCESS)
}
