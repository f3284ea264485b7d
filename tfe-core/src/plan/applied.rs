//! How far an apply came, from its log: line by line, so that the end of a killed apply is known too.

use serde_json::Value;

use super::Summary;

/// Folds the lines of `terraform apply`, with `-json` or as text, coloured or not.
///
/// The engine's own sum is taken if it came; an apply that failed has none, and its finished operations are counted.
#[derive(Debug, Clone, Default)]
pub struct ApplyProgress {
    counted: Summary,
    reported: Option<Summary>,
    running: Vec<(String, Action)>,
    /// Addresses of what was created, with the ids that the engine told.
    created: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Update,
    Delete,
    Replace,
}

/// Beginnings of what a text log says after an address (terraform 1.11, `internal/command/views/hook_ui.go`).
const STARTED: [(&str, Action); 3] =
    [(": Creating...", Action::Create), (": Modifying...", Action::Update), (": Destroying...", Action::Delete)];
const COMPLETED: [(&str, Action); 3] =
    [(": Creation complete", Action::Create), (": Modifications complete", Action::Update), (": Destruction complete", Action::Delete)];
const IMPORTED: &str = ": Import complete";

impl ApplyProgress {
    /// Takes the next line; what is neither JSON nor one of the known texts is ignored.
    pub fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.starts_with('{') {
            if let Ok(message) = serde_json::from_str(line) {
                self.message(&message);
            }
        } else {
            self.text(&without_colours(line));
        }
    }

    /// What was done so far. `has_changes` says whether any resource was touched.
    pub fn summary(&self) -> Summary {
        let summary = self.reported.unwrap_or(self.counted);
        Summary { has_changes: summary.add + summary.change + summary.destroy + summary.import > 0, ..summary }
    }

    /// Addresses of operations that began and neither completed nor failed: what a killed apply may have left behind.
    /// A text log does not tell failed operations from unfinished ones.
    pub fn unfinished(&self) -> Vec<String> {
        self.running.iter().map(|(address, _)| address.clone()).collect()
    }

    /// Addresses of what was created and is not in the state that was saved: an engine tells that something is complete just
    /// before it writes that, and may be killed between the two. What has no id cannot be looked for.
    pub fn unrecorded(&self, state: &str) -> Vec<String> {
        let is_missing = |id: &str| !state.contains(&Value::from(id).to_string());
        self.created.iter().filter(|(_, id)| is_missing(id)).map(|(address, _)| address.clone()).collect()
    }

    fn message(&mut self, message: &Value) {
        let hook = &message["hook"];
        let address = hook["resource"]["addr"].as_str().unwrap_or_default();
        let Some(kind) = message["type"].as_str() else { return };
        match (kind, Action::named(hook["action"].as_str().unwrap_or_default())) {
            ("change_summary", _) if message["changes"]["operation"] != "plan" => self.reported = Some(reported(&message["changes"])),
            ("apply_start", Some(action)) => self.start(address, action),
            ("apply_complete", Some(action)) => self.complete(address, action, hook["id_value"].as_str()),
            ("apply_errored", Some(action)) => self.end(address, action),
            _ => {}
        }
    }

    fn text(&mut self, line: &str) {
        if let Some(summary) = parse_sum(line) {
            self.reported = Some(summary);
        }
        let (address, rest) = line.split_at(address_length(line));
        if address.is_empty() {
            return;
        }
        let rest = without_deposed(rest);
        let found = |table: &[(&str, Action)]| table.iter().find(|(text, _)| rest.starts_with(text)).map(|(_, action)| *action);
        if let Some(action) = found(&STARTED) {
            self.start(address, action);
        } else if let Some(action) = found(&COMPLETED) {
            self.complete(address, action, told_id(rest));
        } else if rest.starts_with(IMPORTED) {
            self.counted.import += 1;
        }
    }

    fn start(&mut self, address: &str, action: Action) {
        self.running.push((address.to_owned(), action));
    }

    fn complete(&mut self, address: &str, action: Action, id: Option<&str>) {
        self.end(address, action);
        let is_creation = matches!(action, Action::Create | Action::Replace);
        if let Some(id) = id.filter(|_| is_creation) {
            self.created.push((address.to_owned(), id.to_owned()));
        }
        self.counted.add += u64::from(is_creation);
        self.counted.change += u64::from(action == Action::Update);
        self.counted.destroy += u64::from(matches!(action, Action::Delete | Action::Replace));
    }

    fn end(&mut self, address: &str, action: Action) {
        if let Some(position) = self.running.iter().position(|running| (running.0.as_str(), running.1) == (address, action)) {
            self.running.remove(position);
        }
    }
}

impl Action {
    /// By the name in JSON logs; none for reads and the like, which leave nothing behind.
    fn named(name: &str) -> Option<Self> {
        match name {
            "create" => Some(Self::Create),
            "update" => Some(Self::Update),
            "delete" => Some(Self::Delete),
            "replace" => Some(Self::Replace),
            _ => None,
        }
    }
}

fn reported(changes: &Value) -> Summary {
    let count = |field: &str| changes[field].as_u64().unwrap_or(0);
    Summary { add: count("add"), change: count("change"), destroy: count("remove"), import: count("import"), has_changes: false }
}

/// Reads `Apply complete! Resources: 1 imported, 2 added, 0 changed, 0 destroyed.`
fn parse_sum(line: &str) -> Option<Summary> {
    let counts = ["Apply complete! Resources: ", "Destroy complete! Resources: "].iter().find_map(|prefix| line.strip_prefix(prefix))?;
    let mut summary = Summary::default();
    for part in counts.trim_end_matches('.').split(", ") {
        let (count, what) = part.split_once(' ')?;
        let field = match what {
            "added" => &mut summary.add,
            "changed" => &mut summary.change,
            "destroyed" => &mut summary.destroy,
            "imported" => &mut summary.import,
            _ => return None,
        };
        *field = count.parse().ok()?;
    }
    Some(summary)
}

/// The length of the resource address that the line begins with. Keys in brackets may hold anything, so that they are
/// skipped by their quotes; what a provisioner prints has another form and is no address.
fn address_length(line: &str) -> usize {
    let (mut in_key, mut in_quotes, mut escaped) = (false, false, false);
    for (position, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' if in_key => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '[' => in_key = true,
            ']' => in_key = false,
            '.' | '_' | '-' => {}
            _ if character.is_alphanumeric() => {}
            _ => return position,
        }
    }
    0
}

/// The id in `: Creation complete after 0s [id=…]`.
fn told_id(rest: &str) -> Option<&str> {
    rest.split_once("[id=")?.1.strip_suffix(']')
}

/// Without the note that it is about an object that was replaced before.
fn without_deposed(rest: &str) -> &str {
    rest.strip_prefix(" (deposed object ").and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest)
}

/// Without ANSI colour sequences: escape, bracket, numbers, `m`.
fn without_colours(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let text = piece.trim_start_matches(|character: char| character.is_ascii_digit() || character == ';');
        plain.push_str(text.strip_prefix('m').unwrap_or(text));
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const APPLY_LOG: &str = include_str!("../../tests/fixtures/apply.jsonl");
    const APPLY_TEXT: &str = include_str!("../../tests/fixtures/apply.log");
    const ALL: Summary = Summary { add: 2, change: 3, destroy: 2, import: 1, has_changes: true };

    fn after<'l>(lines: impl IntoIterator<Item = &'l str>) -> ApplyProgress {
        let mut progress = ApplyProgress::default();
        lines.into_iter().for_each(|line| progress.line(line));
        progress
    }

    #[test]
    fn a_real_log_gives_the_engine_s_sum() {
        for log in [APPLY_LOG, APPLY_TEXT] {
            let progress = after(log.lines());
            assert_eq!(progress.summary(), ALL);
            assert_eq!(progress.unfinished(), [""; 0]);
        }
    }

    #[test]
    fn without_the_sum_finished_operations_are_counted() {
        let is_sum = |line: &&str| line.contains("change_summary") || line.contains("Apply complete!");
        assert_eq!(after(APPLY_LOG.lines().filter(|line| !is_sum(line))).summary(), Summary { import: 0, ..ALL });
        assert_eq!(after(APPLY_TEXT.lines().filter(|line| !is_sum(line))).summary(), ALL);
    }

    #[test]
    fn a_cut_log_says_what_was_under_way() {
        for log in [APPLY_LOG, APPLY_TEXT] {
            let progress = after(log.lines().take_while(|line| !line.contains("terraform_data.new: Creation complete")));
            assert!(progress.unfinished().contains(&"terraform_data.new".to_owned()), "{:?}", progress.unfinished());
            assert!(progress.summary().destroy > 0);
        }
    }

    #[test]
    fn what_was_created_and_not_written_is_told() {
        for log in [APPLY_LOG, APPLY_TEXT] {
            let progress = after(log.lines());
            let created = progress.created.clone();
            assert_eq!(created.len(), 2, "{created:?}");
            let (address, id) = &created[0];
            assert_eq!(progress.unrecorded(&format!(r#"{{"id":"{id}"}}"#)), [created[1].0.as_str()]);
            assert_eq!(progress.unrecorded(&format!(r#"{{"id":"{id}-longer"}}"#)), [address.as_str(), &created[1].0]);
        }
    }

    #[test]
    fn failed_operations_are_finished_and_do_not_count() {
        let message = |kind: &str| json!({ "type": kind, "hook": { "resource": { "addr": "a.b" }, "action": "create" } }).to_string();
        let progress = after([message("apply_start").as_str(), &message("apply_errored")]);
        assert_eq!((progress.summary(), progress.unfinished()), (Summary::default(), Vec::new()));
    }

    #[test]
    fn a_replacement_is_both_and_the_plan_s_sum_is_not_the_apply_s() {
        let complete = json!({ "type": "apply_complete", "hook": { "resource": { "addr": "a.b" }, "action": "replace" } }).to_string();
        let planned = json!({ "type": "change_summary", "changes": { "add": 9, "operation": "plan" } }).to_string();
        let summary = after([planned.as_str(), &complete]).summary();
        assert_eq!(summary, Summary { add: 1, destroy: 1, has_changes: true, ..Summary::default() });
    }

    #[test]
    fn sums_are_read_in_all_their_forms() {
        for (line, (add, change, destroy, import)) in [
            ("Apply complete! Resources: 1 added, 2 changed, 3 destroyed.", (1, 2, 3, 0)),
            ("\u{1b}[0m\u{1b}[1m\u{1b}[32mApply complete! Resources: 4 imported, 1 added, 0 changed, 0 destroyed.\u{1b}[0m", (1, 0, 0, 4)),
            ("Destroy complete! Resources: 3 destroyed.\r\n", (0, 0, 3, 0)),
        ] {
            assert_eq!(after([line]).summary(), Summary { add, change, destroy, import, has_changes: true }, "{line}");
        }
    }

    #[test]
    fn what_others_print_is_ignored() {
        let lines = [
            "Apply complete! Resources: many added.",
            "t.n (local-exec): x: Creating...",
            "t.n[\"a\"] (local-exec): Apply complete! Resources: 1 added, 0 changed, 0 destroyed.",
            "t.n (remote-exec): t.m: Creation complete after 0s",
            ": Creating...",
            "{ not json",
            "{\"type\": 1}",
            "",
        ];
        let progress = after(lines);
        assert_eq!((progress.summary(), progress.unfinished()), (Summary::default(), Vec::new()));
    }

    #[test]
    fn addresses_may_hold_anything_in_their_keys() {
        let address = r#"module.m["a: Creating... \"]"].t.n[0]"#;
        assert_eq!(after([format!("{address}: Creating...").as_str()]).unfinished(), [address]);
        let deposed = "t.n (deposed object 0a1b2c3d): Destroying... [id=x]";
        assert_eq!(after([deposed]).unfinished(), ["t.n"]);
        assert_eq!(after([deposed, "t.n (deposed object 0a1b2c3d): Destruction complete after 0s"]).summary().destroy, 1);
    }
}
