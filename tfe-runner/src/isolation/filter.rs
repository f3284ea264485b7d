//! A filter in the kernel for what one user sends, made with `nft`: a table for each user, put in place and replaced in
//! one step. It stays between the jobs of the runs that have the user, and goes when no run has it.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use super::{Network, doing};

/// Where `nft` is: a supervisor has no search path.
const PROGRAMS: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"];

/// How long a filter is taken to be there: names of what is allowed get other addresses, and a firewall that is loaded
/// anew removes what it does not know. A busy runner starts many jobs meanwhile.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Puts the filter of a user in place, whatever was there. Needs root and `nft`.
pub fn put(user: u32, network: &Network) -> io::Result<()> {
    apply(&table(user, network))
}

/// Takes it away.
pub fn remove(user: u32) -> io::Result<()> {
    remove_all(&[user])
}

/// Takes those of several users away.
pub(super) fn remove_all(users: &[u32]) -> io::Result<()> {
    apply(&users.iter().map(|user| removed(*user)).collect::<String>())
}

/// Sees to it that the filter of a user is in place; the note says which was put there last. Notes from before this process first
/// asked say nothing: a container that starts again keeps its files, and not its tables.
pub(super) fn keep(user: u32, network: &Network, note: &Path) -> io::Result<()> {
    static SINCE: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
    let since = *SINCE;
    let table = table(user, network);
    let noted_at = fs::metadata(note).and_then(|found| found.modified()).ok().filter(|at| *at >= since);
    let age = noted_at.and_then(|at| at.elapsed().ok());
    if age.is_some_and(|age| age < MAX_AGE) && fs::read_to_string(note).is_ok_and(|noted| noted == table) {
        return Ok(());
    }
    apply(&table)?;
    fs::write(note, table)
}

fn removed(user: u32) -> String {
    // Deleting what is not there is an error, making what is there is not.
    format!("table inet tfe_run_{user} {{}}\ndelete table inet tfe_run_{user}\n")
}

/// What the kernel itself sends has no user, so only what surely is the user's is looked at.
fn table(user: u32, network: &Network) -> String {
    let mut rules = String::new();
    let mut rule = |words: std::fmt::Arguments<'_>| writeln!(rules, "    {words}").unwrap_or_default();
    for address in network.allowed_addresses() {
        let (family, port) = (family(address.is_ipv4()), address.port());
        rule(format_args!("{family} daddr {} meta l4proto {{ tcp, udp }} th dport {port} accept", address.ip()));
    }
    for range in &network.denied {
        let matched = format!("{} daddr {range}", family(range.is_ipv4()));
        rule(format_args!("{matched} meta l4proto tcp reject with tcp reset"));
        rule(format_args!("{matched} reject"));
    }
    if !network.machine {
        rule(format_args!("fib daddr type local meta l4proto tcp reject with tcp reset"));
        rule(format_args!("fib daddr type local reject"));
    }
    let removed = removed(user);
    format!(
        "{removed}table inet tfe_run_{user} {{\n  chain run {{\n{rules}  }}\n  chain output {{\n    type filter hook output priority filter; \
         policy accept;\n    meta skuid {user} jump run\n  }}\n}}\n"
    )
}

const fn family(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "ip" } else { "ip6" }
}

fn apply(script: &str) -> io::Result<()> {
    let program = PROGRAMS.iter().find(|program| Path::new(program).exists());
    let program = program.ok_or_else(|| io::Error::other("nft is not installed"))?;
    let mut command = Command::new(program);
    command.args(["-f", "-"]).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = doing("nft", command.spawn())?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let reason = String::from_utf8_lossy(&output.stderr);
    let reason = reason.lines().next().unwrap_or("no reason given");
    if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("nft: {reason}"))) }
}
