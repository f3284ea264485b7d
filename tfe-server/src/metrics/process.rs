//! What the process takes, from the kernel, under the names that Prometheus' own clients use.

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// Clock ticks in a second, which Linux promises to programs whatever it uses itself.
const TICKS_PER_SECOND: u64 = 100;
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 4096;

/// Adds the figures; those that the kernel does not give are left out.
pub(super) fn register(registry: &mut Registry) {
    let figures = [
        ("process_resident_memory_bytes", "Memory that the process has", resident_bytes()),
        ("process_open_fds", "Files and connections that the process has open", open_files()),
        ("process_cpu_seconds", "Processor time that the process has used, in whole seconds", cpu_seconds()),
        ("process_threads", "Threads of the process", threads()),
    ];
    for (name, help, value) in figures {
        let Some(value) = value.and_then(|value| i64::try_from(value).ok()) else { continue };
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
}

fn resident_bytes() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

fn open_files() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

fn cpu_seconds() -> Option<u64> {
    let ticks = |index| stat(index);
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn threads() -> Option<u64> {
    stat(17)
}

/// A field of `/proc/self/stat`, counted from the one after the program's name, which may hold blanks.
fn stat(index: usize) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    text.rsplit_once(") ")?.1.split_whitespace().nth(index)?.parse().ok()
}
