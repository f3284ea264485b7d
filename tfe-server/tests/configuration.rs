//! The configuration: every mistake is seen at once, no secret is ever shown, and the nearest word wins.

use std::{collections::BTreeSet, io, path::Path};

use proptest::prelude::*;
use tfe_core::secret::Secret;
use tfe_server::configuration::{Configuration, Form, Mistakes, Mode, RestoreChoice, SETTINGS, Sources, default_file};

/// What a form cannot be.
fn bad(form: &Form) -> Option<&'static str> {
    match form {
        Form::Text | Form::Secret | Form::Path | Form::Place => None,
        Form::Switch => Some("yes please"),
        Form::Number(_) => Some("12 apples"),
        Form::Choice(_) => Some("nothing of that"),
        Form::Address => Some("localhost"),
        Form::Url => Some("ftp://host"),
        Form::Subnets => Some("10.0.0.0/99"),
    }
}

#[test]
fn every_wrong_setting_is_named_at_once() {
    let constrained: Vec<_> = SETTINGS.iter().filter_map(|setting| Some((setting, bad(&setting.form)?))).collect();
    let environment = constrained.iter().map(|(setting, bad)| (setting.environment, *bad));
    let Mistakes(mistakes) = read(environment).unwrap_err();
    for (setting, bad) in &constrained {
        let named = mistakes.iter().find(|mistake| mistake.setting == setting.environment);
        let named = named.unwrap_or_else(|| panic!("nothing is said about {}", setting.environment));
        assert!(named.text.contains(bad) && named.text.contains("must be"), "{named:?}");
    }
    assert!(constrained.len() > 15);
}

#[test]
fn the_same_in_a_file_with_every_field_wrong() {
    let mut file = String::new();
    for setting in SETTINGS {
        if let Some(bad) = bad(&setting.form) {
            let (table, name) = setting.key.split_once('.').unwrap();
            file += &format!("[{table}]\n{name} = \"{bad}\"\n").replace(&format!("[{table}]\n"), &header(&file, table));
        }
    }
    file += "nonsense = 1\n[unknown]\nthing = true\n";
    let Mistakes(mistakes) = read_file(&file).unwrap_err();
    for setting in SETTINGS.iter().filter(|setting| bad(&setting.form).is_some()) {
        assert!(mistakes.iter().any(|mistake| mistake.setting == setting.key), "{}: {mistakes:#?}", setting.key);
    }
    assert!(mistakes.iter().any(|mistake| mistake.setting == "unknown.thing" && mistake.text.contains("meant?")));
}

#[test]
fn what_a_mode_needs_is_said() {
    let Mistakes(mistakes) = read([("TFE_OPERATIONAL_MODE", "external")]).unwrap_err();
    let named: BTreeSet<_> = mistakes.iter().map(|mistake| mistake.setting.as_str()).collect();
    assert_eq!(named, BTreeSet::from(["database.host", "object_storage.type", "server.encryption_password"]));
    for kind in ["s3", "azure", "google"] {
        let Mistakes(mistakes) = read([("TFE_OBJECT_STORAGE_TYPE", kind)]).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.setting.starts_with("object_storage.")), "{mistakes:?}");
    }
    let Mistakes(mistakes) = read([("TFE_VAULT_USE_EXTERNAL", "true")]).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    let Mistakes(mistakes) = read([("TFE_TLS_CERT_FILE", "/cert.pem")]).unwrap_err();
    assert_eq!(mistakes[0].setting, "tls.key_file");
}

#[test]
fn each_mode_is_read_from_the_names_of_terraform_enterprise() {
    assert_eq!(read([]).unwrap().mode, Mode::Disk);
    let external = read(EXTERNAL).unwrap();
    assert_eq!(external.mode, Mode::External);
    let (database, objects) = (external.database.unwrap(), external.objects.unwrap());
    assert_eq!((database.host.as_str(), database.port, database.name.as_str()), ("db.example.com", 5433, "tfe"));
    assert_eq!(objects.url, "s3://bucket/");
    assert!(external.vault.is_none() && external.warnings.is_empty(), "{:?}", external.warnings);
    let vault = EXTERNAL.into_iter().filter(|(name, _)| *name != "TFE_ENCRYPTION_PASSWORD").chain([
        ("TFE_VAULT_USE_EXTERNAL", "true"),
        ("TFE_VAULT_ADDRESS", "https://vault.example.com:8200/"),
        ("TFE_VAULT_ROLE_ID", "role"),
        ("TFE_VAULT_SECRET_ID", "secret"),
    ]);
    let vault = read(vault).unwrap().vault.unwrap();
    assert_eq!((vault.address.as_str(), vault.mount.as_str()), ("https://vault.example.com:8200", "transit"));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = Some(Secret::from("[server]\nlisten = \"127.0.0.1:1\"\nhostname = \"file\"\n[capacity]\nconcurrency = 7\n"));
    let environment = vec![pair(("TFE_LISTEN", "127.0.0.1:2")), pair(("TFE_HOSTNAME", "environment"))];
    let sources = Sources { file, environment, flags: vec![("server.listen", "127.0.0.1:3".to_owned())] };
    let configuration = Configuration::read(&sources, &no_file).unwrap();
    assert_eq!(configuration.listen.port(), 3);
    assert_eq!(configuration.public_url.as_deref(), Some("https://environment"));
    assert_eq!(configuration.runs.concurrency, 7);
    let source = |key: &str| configuration.shown().iter().find(|shown| shown.key == key).unwrap().source.clone();
    assert_eq!((source("server.listen"), source("server.hostname")), ("flag".to_owned(), "TFE_HOSTNAME".to_owned()));
    assert_eq!((source("capacity.concurrency"), source("log.filter")), ("file".to_owned(), "default".to_owned()));
}

#[test]
fn no_secret_is_ever_shown() {
    let secrets = SETTINGS.iter().filter(|setting| setting.form == Form::Secret);
    let environment: Vec<_> = secrets.map(|setting| (setting.environment, "hunter2")).collect();
    let wrong = read(environment.clone()).unwrap_err();
    assert!(!format!("{wrong} {wrong:?}").contains("hunter2"), "{wrong}");
    let right = environment.into_iter().map(|(name, secret)| match name {
        "TFE_DATABASE_URL" => (name, "postgres://user:hunter2@host/name"),
        "TFE_RABBITMQ_URL" => (name, "amqp://user:hunter2@host"),
        _ => (name, secret),
    });
    let place = ("TFE_BACKUP_URL", "s3://bucket/tfe?region=eu&secret_access_key=hunter2");
    let configuration = read(right.chain([place])).unwrap();
    let shown = serde_json::to_string(configuration.shown()).unwrap();
    assert!(!format!("{configuration:?} {shown}").contains("hunter2"));
    assert!(shown.contains("(set)"));
    assert!(shown.contains("s3://bucket/tfe?region=(set)&secret_access_key=(set)"), "{shown}");
    let broken = read_file("[database]\npassword = \"hunter2\" oops").unwrap_err();
    assert!(!broken.to_string().contains("hunter2") && broken.to_string().contains("line 2"), "{broken}");
}

#[test]
fn a_bucket_of_snapshots_is_opened_by_secrets_of_its_own_or_by_its_url() {
    let options = |settings: &[(&'static str, &'static str)]| {
        let with_password = settings.iter().copied().chain([("TFE_BACKUP_PASSWORD", "password")]);
        let objects = read(with_password).unwrap().snapshots.objects.unwrap();
        assert!(!objects.url.contains('?'), "{}", objects.url);
        objects.options.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect::<Vec<_>>().join(" ")
    };
    let azure = [("TFE_BACKUP_URL", "az://container/tfe?account_name=us%2Bthem+you"), ("TFE_BACKUP_AZURE_ACCOUNT_KEY", "key")];
    assert_eq!(options(&azure), "account_name=us+them+you account_key=key");
    assert_eq!(options(&[("TFE_BACKUP_URL", "gs://bucket"), ("TFE_BACKUP_GOOGLE_CREDENTIALS", "{}")]), "service_account_key={}");
    let s3 = [("TFE_BACKUP_S3_ACCESS_KEY_ID", "own"), ("TFE_BACKUP_S3_SECRET_ACCESS_KEY", "own")];
    let settings: Vec<_> = [("TFE_BACKUP_URL", "s3://snapshots?region=us")].into_iter().chain(s3).chain(EXTERNAL).collect();
    let found = options(&settings);
    assert!(found.contains("region=us access_key_id=own secret_access_key=own") && !found.contains("eu-west-1"), "{found}");
}

#[test]
fn a_restore_can_be_required_of_a_place_for_snapshots_only() {
    const PLACE: (&str, &str) = ("TFE_BACKUP_URL", "/mnt/backup");
    let choice = |text: &'static str| read([("TFE_BACKUP_RESTORE_ON_BOOT", text), PLACE, ("TFE_BACKUP_PASSWORD", "password")]);
    for (text, wanted) in [("true", RestoreChoice::Newest), ("false", RestoreChoice::Never), ("required", RestoreChoice::Required)] {
        assert_eq!(choice(text).unwrap().snapshots.restore_on_boot, wanted);
    }
    let file = "[snapshots]\nurl = \"/mnt/backup\"\npassword = \"password\"\nrestore_on_boot = false\n";
    assert_eq!(read_file(file).unwrap().snapshots.restore_on_boot, RestoreChoice::Never);
    let Mistakes(mistakes) = read([("TFE_BACKUP_RESTORE_ON_BOOT", "required")]).unwrap_err();
    assert_eq!(mistakes[0].setting, "snapshots.url");
}

#[test]
fn secrets_come_from_files_too_but_only_once() {
    let read_file = |path: &Path| match path.to_str() {
        Some("/secret") => Ok("from the file\n".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let read = |environment: &[(&str, &str)]| {
        let environment = environment.iter().copied().map(pair).collect();
        Configuration::read(&Sources { environment, ..Sources::default() }, &read_file)
    };
    let configuration = read(&[("TFE_ENCRYPTION_PASSWORD_FILE", "/secret")]).unwrap();
    assert_eq!(configuration.encryption_password.unwrap().expose(), "from the file");
    let twice = read(&[("TFE_ENCRYPTION_PASSWORD", "a"), ("TFE_ENCRYPTION_PASSWORD_FILE", "/secret")]).unwrap_err();
    assert!(twice.to_string().contains("give one of them"), "{twice}");
    let missing = read(&[("TFE_ENCRYPTION_PASSWORD_FILE", "/other")]).unwrap_err();
    assert!(missing.to_string().contains("/other"), "{missing}");
}

#[test]
fn unknown_names_are_warned_about_with_a_proposal() {
    let environment = [("TFE_DATABASE_HOTS", "x"), ("TFE_LICENSE", "x"), ("TFE_TOKEN", "x"), ("PATH", "x")];
    let warnings = read(environment).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("is TFE_DATABASE_HOST meant?"), "{warnings:?}");
    assert!(warnings[1].contains("no license"), "{warnings:?}");
}

#[test]
fn every_name_occurs_once_and_the_default_file_says_the_defaults() {
    let keys: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.key).collect();
    let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.environment).collect();
    assert_eq!((keys.len(), names.len()), (SETTINGS.len(), SETTINGS.len()));
    let defaults = read([]).unwrap();
    assert_eq!(read_file(&default_file()).unwrap().shown(), defaults.shown());
    // With every setting that has a default uncommented it says the same, now as the file's word.
    let file = default_file();
    let uncommented = file.lines().map(|line| match line.strip_prefix("# ").filter(|rest| is_assignment(rest)) {
        Some(assignment) => assignment,
        None => line,
    });
    let configuration = read_file(&uncommented.collect::<Vec<_>>().join("\n")).unwrap();
    let value = |configuration: &Configuration| configuration.shown().iter().map(|shown| shown.value.clone()).collect::<Vec<_>>();
    assert_eq!(value(&configuration), value(&defaults));
}

proptest! {
    #[test]
    fn any_text_is_a_legal_password(password in "\\PC{1,40}|[\\x01-\\x7f]{1,40}") {
        let from_environment = read([("TFE_ENCRYPTION_PASSWORD", password.as_str())]).unwrap();
        prop_assert_eq!(from_environment.encryption_password.unwrap(), Secret::from(password.as_str()));
        let mut table = toml::Table::new();
        let server = toml::Table::from_iter([("encryption_password".to_owned(), toml::Value::String(password.clone()))]);
        table.insert("server".to_owned(), toml::Value::Table(server));
        let from_file = read_file(&table.to_string()).unwrap();
        prop_assert_eq!(from_file.encryption_password.unwrap(), Secret::from(password.as_str()));
    }
}

const EXTERNAL: [(&str, &str); 10] = [
    ("TFE_OPERATIONAL_MODE", "external"),
    ("TFE_DATABASE_HOST", "db.example.com:5433"),
    ("TFE_DATABASE_USER", "tfe"),
    ("TFE_DATABASE_PASSWORD", "pa'ss$word\""),
    ("TFE_OBJECT_STORAGE_TYPE", "s3"),
    ("TFE_OBJECT_STORAGE_S3_BUCKET", "bucket"),
    ("TFE_OBJECT_STORAGE_S3_REGION", "eu-west-1"),
    ("TFE_OBJECT_STORAGE_S3_ACCESS_KEY_ID", "key"),
    ("TFE_OBJECT_STORAGE_S3_SECRET_ACCESS_KEY", "secret"),
    ("TFE_ENCRYPTION_PASSWORD", "password"),
];

fn read<'a>(environment: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Configuration, Mistakes> {
    let environment = environment.into_iter().map(pair).collect();
    Configuration::read(&Sources { environment, ..Sources::default() }, &no_file)
}

fn read_file(text: &str) -> Result<Configuration, Mistakes> {
    Configuration::read(&Sources { file: Some(Secret::from(text)), ..Sources::default() }, &no_file)
}

fn no_file(_: &Path) -> io::Result<String> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn pair((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A table's header, once.
fn header(file: &str, table: &str) -> String {
    let header = format!("[{table}]\n");
    if file.contains(&header) { String::new() } else { header }
}

/// Whether a comment is a setting with a value, which a choice without a default is not.
fn is_assignment(text: &str) -> bool {
    let Some((name, value)) = text.split_once(" = ") else { return false };
    !name.contains(' ') && !["object_storage.type", "s3_server_side_encryption"].iter().any(|key| key.ends_with(name)) && !value.is_empty()
}
