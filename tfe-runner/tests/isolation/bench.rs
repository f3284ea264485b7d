//! A machine with things worth attacking, and a place to attack from.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, Permissions},
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{PermissionsExt, lchown},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use tfe_runner::isolation::{Ended, Execution, Isolation, Launch, Level, Limits, Network, Sandbox, Setting};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Users of tests, below those of runners.
static NEXT_USER: AtomicU32 = AtomicU32::new(0);

/// What a program left.
pub(crate) struct Left {
    pub(crate) ended: Ended,
    pub(crate) output: String,
}

/// A program at work, and where it writes.
pub(crate) struct Started {
    ended: Receiver<Ended>,
    pub(crate) output: PathBuf,
}

impl Started {
    pub(crate) fn wait(&self) -> Ended {
        self.ended.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }
}

/// The machine.
pub(crate) struct Bench {
    home: tempfile::TempDir,
    server: Child,
    port: u16,
    shared_memory: String,
    _listeners: (TcpListener, UnixListener, UnixListener),
    pub(crate) sandbox: Sandbox,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Level::Namespaces)
    }

    pub(crate) fn with(level: Level) -> Self {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for (path, content) in [("data/database", "rows"), ("runs/other/config/main.tf", "secret"), ("mirror/provider", "binary")] {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), content).unwrap();
        }
        let own = at("runs/own/config");
        fs::create_dir_all(&own).unwrap();
        let user = is_root().then(|| 1_878_000_000 + (std::process::id() % 1000) * 1000 + NEXT_USER.fetch_add(1, Ordering::Relaxed));
        if let Some(user) = user {
            lchown(&own, Some(user), Some(user)).unwrap();
            fs::copy("/usr/bin/id", at("mirror/id")).unwrap();
            fs::set_permissions(at("mirror/id"), Permissions::from_mode(0o4755)).unwrap();
        }
        if level == Level::Landlock {
            for path in ["", "runs", "runs/own"] {
                fs::set_permissions(at(path), Permissions::from_mode(0o711)).unwrap();
            }
        }
        let server = Command::new("/bin/sleep").arg("100000").env("DATABASE_URL", "with-a-password").stdin(Stdio::null()).spawn().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let unix = UnixListener::bind(at("docker.sock")).unwrap();
        fs::set_permissions(at("docker.sock"), Permissions::from_mode(0o660)).unwrap();
        let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("tfe-test-{port}")).unwrap()).unwrap();
        let made = Command::new("ipcmk").args(["-M", "64", "-p", "0666"]).output().unwrap();
        let shared_memory = String::from_utf8(made.stdout).unwrap().rsplit(' ').next().unwrap().trim().to_owned();
        let sandbox = Sandbox {
            level,
            user,
            readable: vec![at("mirror")],
            writable: vec![own],
            limits: Limits::default(),
            network: Network::default(),
        };
        Self { server, port, shared_memory, _listeners: (tcp, unix, hidden), sandbox, home }
    }

    pub(crate) fn own(&self) -> PathBuf {
        self.home.path().join("runs/own/config")
    }

    pub(crate) fn sandboxed(&self) -> Isolation {
        Isolation::Sandbox(self.sandbox.clone())
    }

    /// A place for programs; what it has to say goes where they write.
    pub(crate) fn open(&self, isolation: &Isolation) -> Box<dyn Execution> {
        isolation.executor(&supervisor()).open(file(&self.output())).unwrap()
    }

    fn output(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        self.home.path().join(format!("output-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Starts a shell script; its output goes where nothing but its own descriptors reaches.
    pub(crate) fn start(&self, isolation: &Isolation, script: &str) -> (Box<dyn Execution>, Started) {
        let mut execution = self.open(isolation);
        let started = self.start_in(execution.as_mut(), script);
        (execution, started)
    }

    /// The same in a place that is there already.
    pub(crate) fn start_in(&self, execution: &mut dyn Execution, script: &str) -> Started {
        start(execution, &self.launch(script), self.output())
    }

    /// Starts a program that sleeps, without a shell, which would be deaf for a moment.
    pub(crate) fn start_sleep(&self, execution: &mut dyn Execution, seconds: &str) -> Started {
        let launch = Launch { program: "/bin/sleep".into(), arguments: vec![seconds.into()], ..self.launch("") };
        start(execution, &launch, self.output())
    }

    /// Runs a shell script with one more setting in its environment.
    pub(crate) fn run_with(&self, isolation: &Isolation, name: &str, value: &str, script: &str) -> Left {
        let mut launch = self.launch(script);
        launch.environment.push(Setting { name: name.to_owned(), value: value.into() });
        let mut execution = self.open(isolation);
        let started = start(execution.as_mut(), &launch, self.output());
        Left { ended: started.wait(), output: started.text() }
    }

    /// Runs a shell script to its end.
    pub(crate) fn run(&self, isolation: &Isolation, script: &str) -> Left {
        let (_room, started) = self.start(isolation, script);
        Left { ended: started.wait(), output: started.text() }
    }

    fn launch(&self, script: &str) -> Launch {
        let home = self.home.path().to_str().unwrap();
        let settings = HashMap::from([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("OUTSIDE", home.to_owned()),
            ("MIRROR", format!("{home}/mirror")),
            ("OWN", self.own().to_str().unwrap().to_owned()),
            ("SERVER", self.server.id().to_string()),
            ("PORT", self.port.to_string()),
            ("SHARED", self.shared_memory.clone()),
        ]);
        let environment = settings.into_iter().map(|(name, value)| Setting { name: name.to_owned(), value: value.into() });
        Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: environment.collect(),
            directory: self.own(),
        }
    }

    /// Whether what stands for the server lives.
    pub(crate) fn is_served(&mut self) -> bool {
        self.server.try_wait().unwrap().is_none()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = Command::new("ipcrm").args(["-m", &self.shared_memory]).status();
    }
}

fn start(execution: &mut dyn Execution, launch: &Launch, output: PathBuf) -> Started {
    let (sender, ended) = mpsc::channel();
    execution.start(launch, file(&output), file(&output), Box::new(move |end| sender.send(end).unwrap_or_default())).unwrap();
    Started { ended, output }
}

fn file(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

pub(crate) fn supervisor() -> Vec<OsString> {
    vec![env!("CARGO_BIN_EXE_tfe-supervisor").into()]
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Waits for something to become true.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many processes have these words on their command line.
pub(crate) fn running(words: &str) -> usize {
    let line = words.replace(' ', "\0") + "\0";
    let is_it = |path: PathBuf| fs::read_to_string(path.join("cmdline")).is_ok_and(|found| found == line);
    fs::read_dir("/proc").unwrap().filter(|entry| entry.as_ref().is_ok_and(|entry| is_it(entry.path()))).count()
}

/// Holds content.
pub(crate) fn holds(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|content| content.contains(text))
}
