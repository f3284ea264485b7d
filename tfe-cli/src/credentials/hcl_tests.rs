//! What the reader of configurations takes and what it refuses.

use super::*;

#[test]
fn a_configuration_is_read() {
    let items = parse(
        r#"
        # a comment
        plugin_cache_dir = "/tmp/cache" // another
        disable_checkpoint = true
        /* a longer
           one */
        credentials "tfe.example.com" { token = "a\"b\\c\u00fc" }
        host "tfe.example.com" {
          services = {
            "tfe.v2" = "https://tfe.example.com:8443/api/v2/",
            "login.v1" : { client = "cli", ports = [10000, 10010,] }
          }
        }
        provider_installation {
          direct { exclude = ["a/*/*"] }
        }
        "#,
    )
    .unwrap();
    let names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["plugin_cache_dir", "disable_checkpoint", "credentials", "host", "provider_installation"]);
    assert_eq!(items[2].labels, ["tfe.example.com"]);
    assert_eq!(items[2].value.key("token").unwrap().text(), Some("a\"b\\cü"));
    let services = items[3].value.key("services").unwrap();
    assert_eq!(services.key("tfe.v2").unwrap().text(), Some("https://tfe.example.com:8443/api/v2/"));
    let ports = services.key("login.v1").unwrap().key("ports").unwrap();
    assert_eq!(*ports, Value::List(vec![Value::Number(10_000.0), Value::Number(10_010.0)]));
}

#[test]
fn mistakes_are_named_with_their_line_and_without_values() {
    for (text, line) in [
        ("credentials \"a\" {\n token = \"secret\n}", "line 3"),
        ("credentials \"a\" {\n token = secret\n}", "line 2"),
        ("credentials \"a\" {\n token = \"${secret}\"\n}", "line 2"),
        ("credentials \"a\" {\n", "line 2"),
        ("a = [1 2]", "line 1"),
        ("/* no end", "line 1"),
        ("a = \"\\q\"", "line 1"),
        ("}", "line 1"),
        ("a", "line 1"),
        ("a =", "line 1"),
    ] {
        let reason = parse(text).unwrap_err();
        assert!(reason.starts_with(line) && !reason.contains("secret"), "{text:?}: {reason}");
    }
}

#[test]
fn nesting_has_a_limit() {
    assert!(parse(&format!("a = {}", "[".repeat(100_000))).unwrap_err().contains("nested"));
}
