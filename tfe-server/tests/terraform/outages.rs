//! Parts of the system that stop working while runs are on their way, and work again: what waits says why, what is in
//! progress is saved, and all goes on by itself.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    crash::{go, in_the_middle},
    harness::{Demo, until},
    modes::external_mode,
    services::{ExternalVault, owned, variable},
};

#[test]
fn runs_wait_for_a_sealed_vault_with_a_reason_and_go_on_in_their_order() {
    let (Some((_database, settings)), Some(program)) = (external_mode(), variable("TFE_TEST_VAULT_PROGRAM")) else { return };
    let bao = Bao::start(&program);
    let vault = ExternalVault::at(&bao.address, &bao.token);
    let demo = Demo::serve(vault.settings(settings));
    let (project, running) = in_the_middle(&demo, "middle");
    let names = ["first", "second", "third"];
    let prepared: Vec<_> = names.iter().map(|name| configured(&demo, name)).collect();
    bao.seal();
    until("readiness that names the vault", || {
        let (status, text) = demo.answer("GET", "/api/v1/health/readiness", &Value::Null);
        (status == 503 && text.contains("\"check\":\"vault\",\"status\":\"ERROR\"")).then_some(())
    });
    assert_eq!(demo.answer("GET", "/api/v2/organizations/demo/workspaces", &Value::Null).0, 200, "what needs no secret can be read");
    let queued: Vec<_> = prepared.iter().map(|(workspace, configuration)| queue(&demo, workspace, configuration)).collect();
    for run in &queued {
        let reason = until("a reason on the run", || {
            let run = demo.get(&format!("/api/v2/runs/{run}"));
            run["data"]["attributes"]["waiting-reason"].as_str().map(str::to_owned)
        });
        assert!(reason.contains("vault"), "{reason}");
    }
    go(&demo);
    bao.unseal();
    for (name, run) in names.iter().zip(&queued) {
        let ended = demo.run_until(name, &["applied", "errored"]);
        assert_eq!((ended["id"].as_str(), ended["attributes"]["status"].as_str()), (Some(run.as_str()), Some("applied")));
        assert_eq!(ended["attributes"]["waiting-reason"], Value::Null);
    }
    let began =
        |run: &String| demo.get(&format!("/api/v2/runs/{run}"))["data"]["attributes"]["status-timestamps"]["planning-at"].to_string();
    let order: Vec<_> = queued.iter().map(began).collect();
    assert!(order.is_sorted(), "{order:?}");
    let ended = demo.run_until("middle", &["applied", "errored"]);
    assert_eq!((ended["id"].clone(), ended["attributes"]["status"].as_str()), (running["id"].clone(), Some("applied")));
    project.terraform(&["plan", "-no-color"]).succeeded().shows("No changes");
}

#[test]
fn a_full_disk_lets_applies_save_their_state_and_refuses_the_rest_until_there_is_space() {
    let home = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&home.path().join("data"));
    let demo = Demo::serve_in(home, owned(&[("TFE_OPERATIONAL_MODE", "disk")]));
    let (project, running) = in_the_middle(&demo, "middle");
    disk.fill();
    let body = json!({ "data": { "type": "workspaces", "attributes": { "name": "new" } } });
    let refused = until("an answer that the disk is full", || {
        let (status, text) = demo.answer("POST", "/api/v2/organizations/demo/workspaces", &body);
        (status == 507).then_some(text)
    });
    assert!(refused.contains("no space left"), "{refused}");
    until("readiness that names the disk", || {
        let (status, text) = demo.answer("GET", "/api/v1/health/readiness", &Value::Null);
        (status == 503 && text.contains("\"check\":\"disk\",\"status\":\"ERROR\"")).then_some(())
    });
    go(&demo);
    let ended = demo.run_until("middle", &["applied", "errored"]);
    assert_eq!((ended["id"].clone(), ended["attributes"]["status"].as_str()), (running["id"].clone(), Some("applied")), "{ended}");
    disk.empty();
    until("new work to be taken again", || {
        let (status, _) = demo.answer("POST", "/api/v2/organizations/demo/workspaces", &body);
        (status == 201).then_some(())
    });
    project.terraform(&["plan", "-no-color"]).succeeded().shows("No changes");
}

/// A workspace with an uploaded configuration; their ids.
fn configured(demo: &Demo, name: &str) -> (String, String) {
    let project = demo.project(name, "resource \"terraform_data\" \"a\" { input = timestamp() }");
    project.init();
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    let run = demo.runs(name)[0].clone();
    let configuration = run["relationships"]["configuration-version"]["data"]["id"].as_str().unwrap().to_owned();
    (demo.workspace(name)["id"].as_str().unwrap().to_owned(), configuration)
}

fn queue(demo: &Demo, workspace: &str, configuration: &str) -> String {
    let relationships = json!({
        "workspace": { "data": { "type": "workspaces", "id": workspace } },
        "configuration-version": { "data": { "type": "configuration-versions", "id": configuration } },
    });
    let body = json!({ "data": { "type": "runs", "attributes": { "auto-apply": true }, "relationships": relationships } });
    let (status, text) = demo.answer("POST", "/api/v2/runs", &body);
    assert_eq!(status, 201, "{text}");
    let run: Value = serde_json::from_str(&text).unwrap();
    run["data"]["id"].as_str().unwrap().to_owned()
}

/// A memory-backed file system of a fixed size.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Self {
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=192m,mode=700", "tfe-small-disk"]).arg(path).status().unwrap();
        assert!(mounted.success(), "mounting a small disk needs root");
        Self(path.to_owned())
    }

    /// Leaves not a byte.
    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        let mut length = 1 << 20;
        while length > 0 {
            if file.write_all(&vec![1; length]).is_err() {
                length /= 2;
            }
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A vault of its own, which may be sealed.
struct Bao {
    address: String,
    token: String,
    unseal_key: String,
    process: Child,
    _home: tempfile::TempDir,
}

impl Bao {
    fn start(program: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("http://127.0.0.1:{port}");
        let text = format!("storage \"inmem\" {{}}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\n");
        fs::write(home.path().join("config.hcl"), text).unwrap();
        let mut command = Command::new(program);
        command.arg("server").arg(format!("-config={}", home.path().join("config.hcl").display())).env("HOME", home.path());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut bao = Self { address, token: String::new(), unseal_key: String::new(), process, _home: home };
        let keys = until("the vault", || {
            let keys = bao.call("sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 }));
            keys["keys"].is_array().then_some(keys)
        });
        keys["keys"][0].as_str().unwrap().clone_into(&mut bao.unseal_key);
        keys["root_token"].as_str().unwrap().clone_into(&mut bao.token);
        bao.unseal();
        bao
    }

    fn seal(&self) {
        self.call("sys/seal", &json!({}));
    }

    fn unseal(&self) {
        until("the vault to be unsealed", || {
            self.call("sys/unseal", &json!({ "key": self.unseal_key }));
            let health = Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("{}/v1/sys/health", self.address)])
                .output();
            (health.unwrap().stdout == b"200").then_some(())
        });
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let mut command = Command::new("curl");
        command.args(["-s", "-X", "PUT", "-H", &format!("X-Vault-Token: {}", self.token), "--data-binary", &body.to_string()]);
        let output = command.arg(format!("{}/v1/{path}", self.address)).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
