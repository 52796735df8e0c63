//! A PostgreSQL server of the tests' own: made when a test needs one, gone when none does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

/// A running server.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
    /// Dropped to have it stopped, by the thread that started it and whose end it does not outlive.
    keeper: Option<(mpsc::Sender<Order>, std::thread::JoinHandle<()>)>,
}

/// A database on it.
#[derive(Clone)]
pub(crate) struct Database {
    server: Arc<Server>,
    name: String,
}

/// How a server is started.
#[derive(Clone)]
struct Settings {
    programs: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    port: u16,
    more: Vec<String>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    /// Writes both where the server alone reads them; says how it is told.
    fn settings(&self, dir: &Path) -> Vec<String> {
        let put = |name: &str, pem: &str| {
            let path = dir.join(name);
            fs::write(&path, pem).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if rustix::process::geteuid().is_root() {
                let mut owned = Command::new("chown");
                assert!(owned.arg("postgres").arg(&path).status().unwrap().success());
            }
            format!("ssl_{name}_file={}", path.display())
        };
        vec!["ssl=on".into(), put("cert", &self.certificate), put("key", &self.key)]
    }
}

/// What the server is to do.
enum Order {
    /// Die without warning, and come again.
    Crash(mpsc::Sender<()>),
    /// Die without warning.
    Halt(mpsc::Sender<()>),
    /// Come, or come again.
    Resume(mpsc::Sender<()>),
}

impl Database {
    /// A new, empty one, on the server that other tests use at this moment.
    pub(crate) fn new() -> Self {
        Self::on(Server::shared())
    }

    /// A new, empty one on this server.
    pub(crate) fn on(server: Arc<Server>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("ca{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.run("createdb", &[&name]);
        Self { server, name }
    }

    /// As it stands in a `ca.toml`.
    pub(crate) fn url(&self) -> String {
        let socket = self.server.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}:{}/{}", self.server.port, self.name)
    }

    /// The same over TCP, by this name of the machine.
    pub(crate) fn url_over_tcp(&self, host: &str) -> String {
        format!("postgres://postgres@{host}:{}/{}", self.server.port, self.name)
    }

    /// What a query says, one line for each row, with `|` between columns.
    pub(crate) fn ask(&self, sql: &str) -> String {
        self.server.run("psql", &["-AtX", "-v", "ON_ERROR_STOP=1", "-d", &self.name, "-c", sql])
    }

    /// Cuts every connection to the database.
    pub(crate) fn cut(&self) {
        self.ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }

    /// The server.
    pub(crate) const fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Server {
    /// The one that other tests use, or a new one.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Self::start();
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// One that nobody else uses.
    pub(crate) fn start() -> Arc<Self> {
        Self::launch(PORT, |_dir| Vec::new())
    }

    /// One that listens on the loopback interface too, with TLS if it has a certificate.
    pub(crate) fn over_tcp(identity: Option<&Identity>) -> Arc<Self> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Self::launch(port, |dir| {
            let mut settings = vec!["listen_addresses=127.0.0.1".to_owned()];
            if let Some(identity) = identity {
                settings.extend(identity.settings(dir));
            }
            settings
        })
    }

    fn launch(port: u16, settings: impl FnOnce(&Path) -> Vec<String>) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (programs, data) = (binaries(), dir.path().join("data"));
        let made = as_postgres(&programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let (orders, waiting) = mpsc::channel();
        let (bin, socket) = (programs.clone(), dir.path().to_owned());
        let settings = Settings { programs, data, socket, port, more: settings(dir.path()) };
        let keeper = std::thread::spawn(move || keep(&settings, &waiting));
        let server = Self { dir, bin, port, keeper: Some((orders, keeper)) };
        server.order(Order::Resume);
        Arc::new(server)
    }

    /// Kills it without warning, starts it again, and waits until it answers.
    pub(crate) fn crash(&self) {
        self.order(Order::Crash);
    }

    /// Kills it without warning.
    pub(crate) fn halt(&self) {
        self.order(Order::Halt);
    }

    /// Starts it again, and waits until it answers.
    pub(crate) fn resume(&self) {
        self.order(Order::Resume);
    }

    fn order(&self, order: fn(mpsc::Sender<()>) -> Order) {
        let (done, was_done) = mpsc::channel();
        self.keeper.as_ref().unwrap().0.send(order(done)).unwrap();
        was_done.recv().unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(self.bin.join(program))
            .args(["-h", &self.dir.path().display().to_string(), "-U", "postgres"])
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((orders, keeper)) = self.keeper.take() {
            drop(orders);
            drop(keeper.join());
        }
    }
}

/// Runs the server until nobody wants it any more.
fn keep(settings: &Settings, orders: &mpsc::Receiver<Order>) {
    let mut server: Option<Child> = None;
    while let Ok(order) = orders.recv() {
        if matches!(order, Order::Crash(_) | Order::Halt(_)) {
            end(&mut server.take().unwrap(), "KILL");
        }
        if matches!(order, Order::Crash(_) | Order::Resume(_)) {
            server = Some(begin(settings));
        }
        let (Order::Crash(done) | Order::Halt(done) | Order::Resume(done)) = order;
        done.send(()).unwrap();
    }
    // Fast, without waiting for connections.
    if let Some(mut server) = server {
        end(&mut server, "INT");
    }
}

/// Starts the server, and waits until it answers. After a crash it refuses to start as long as a process of the former one is
/// about to end.
fn begin(settings: &Settings) -> Child {
    let Settings { programs, data, socket, port, more } = settings;
    let (socket, port) = (socket.display().to_string(), port.to_string());
    let start = || {
        let mut server = as_postgres(&programs.join("postgres"));
        server.arg("-D").arg(data).args(["-k", &socket, "-p", &port]);
        for setting in ["listen_addresses=", "max_connections=200", "shared_buffers=32MB"] {
            server.args(["-c", setting]);
        }
        for setting in more {
            server.args(["-c", setting]);
        }
        server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let answers = || {
        let mut asked = as_postgres(&programs.join("pg_isready"));
        asked.args(["-q", "-h", &socket, "-p", &port]).status().unwrap().success()
    };
    let mut server = start();
    for _ in 0..1200 {
        if server.try_wait().unwrap().is_some() {
            server = start();
        } else if answers() {
            return server;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("the server does not answer");
}

/// Ends the server, and waits for the first of its processes.
fn end(server: &mut Child, how: &str) {
    let pid = server.id().to_string();
    let sent = Command::new("kill").args([format!("-{how}"), pid]).status().unwrap();
    assert!(sent.success());
    server.wait().unwrap();
}

/// The server refuses to run as root; it dies with the thread that started it.
fn as_postgres(program: &Path) -> Command {
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new("setpriv");
    if is_root {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "INT"]).arg(program).current_dir("/");
    command
}

/// Where Debian has the newest server's programs.
fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .unwrap_or_else(|_| panic!("PostgreSQL is not installed; `cargo xtask setup` does that"))
        .map(|entry| entry.unwrap().path().join("bin"))
        .collect();
    found.sort();
    found.pop().unwrap()
}

/// Where servers listen that are reached through their own folder alone.
const PORT: u16 = 5432;
