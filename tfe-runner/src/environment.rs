//! The environment of an engine: everything that it can see of the world.

use std::path::PathBuf;

use crate::{isolation::Setting, job::Assignment, paths::Paths};

/// Where engines and what they call are looked for; nothing of the server's own path.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much an engine's heap may grow, in percent of what is in use, before it is collected. Engines and providers are
/// Go programs that start often and end soon, and the default of 100 makes them spend a fifth of their time on
/// collecting garbage that their end would collect (`benches`, `fleet`).
const HEAP_GROWTH_PERCENT: u32 = 400;
/// The part of a run's memory at which each of its processes begins to save: the largest two have all of it.
const HEAP_SHARE: u64 = 2;

/// What the engine gets: defaults, the workspace's variables, and what it needs. What it needs wins.
pub(crate) fn of(assignment: &Assignment, paths: &Paths, memory_bytes: u64) -> Vec<Setting> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let defaults = [setting("PATH", SEARCH_PATH.to_owned()), setting("LANG", "C.UTF-8".to_owned())];
    let given = assignment.spec.environment.iter().map(|variable| Setting { name: variable.name.clone(), value: variable.value.clone() });
    let needed = [
        setting("HOME", path(paths.home())),
        setting("TMPDIR", path(paths.temporary())),
        setting("TF_DATA_DIR", path(paths.data())),
        setting("TF_WORKSPACE", assignment.spec.workspace.clone()),
        setting("TF_CLI_CONFIG_FILE", path(paths.cli_config())),
        setting("TF_IN_AUTOMATION", "1".to_owned()),
        setting("TF_INPUT", "0".to_owned()),
        setting("CHECKPOINT_DISABLE", "1".to_owned()),
    ];
    defaults.into_iter().chain(heap_settings(memory_bytes)).chain(given).chain(needed).collect()
}

/// How the engines of a run with so many bytes of memory use it, unless its workspace sets the same variables: freely, as long as
/// there is much of it. Nothing where there is no limit (0), since then nothing would end the growth. Engines and providers are Go
/// programs: <https://pkg.go.dev/runtime#hdr-Environment_Variables>.
pub fn heap_settings(limit_bytes: u64) -> Vec<Setting> {
    if limit_bytes == 0 {
        return Vec::new();
    }
    vec![setting("GOGC", HEAP_GROWTH_PERCENT.to_string()), setting("GOMEMLIMIT", format!("{}B", limit_bytes / HEAP_SHARE))]
}

fn setting(name: &str, value: String) -> Setting {
    Setting { name: name.to_owned(), value: value.into() }
}

#[cfg(test)]
mod tests {
    use super::heap_settings;

    #[test]
    fn a_heap_grows_freely_only_within_a_limit() {
        let settings: Vec<_> =
            heap_settings(2 << 30).into_iter().map(|setting| format!("{}={}", setting.name, setting.value.expose())).collect();
        assert_eq!(settings, ["GOGC=400", "GOMEMLIMIT=1073741824B"]);
        assert!(heap_settings(0).is_empty());
    }
}
