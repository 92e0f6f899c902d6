//! A PostgreSQL server of the tests' own, on loopback, in a directory of its own. It ends with the process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use files::metadata::postgres::PostgresOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Starts the server, and stops it when nobody holds the other end of its standard input any more.
const KEEPER: &str = r#"
run() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi
}
trap 'rm -rf "$HOME"' EXIT
run "$BIN/initdb" -D "$HOME/data" -U files -A trust --no-locale -E UTF8 >"$HOME/initdb.log" 2>&1 || exit 1
echo "listen_addresses = '127.0.0.1'
port = $PORT
unix_socket_directories = '$HOME'
max_connections = 300
shared_buffers = 32MB" >> "$HOME/data/postgresql.conf"
run "$BIN/pg_ctl" -D "$HOME/data" -l "$HOME/log" -w start >"$HOME/start.log" 2>&1 || exit 1
echo ready
while read -r command; do
    run "$BIN/pg_ctl" -D "$HOME/data" -l "$HOME/log" -w $command >>"$HOME/start.log" 2>&1
    echo done
done
run "$BIN/pg_ctl" -D "$HOME/data" -m immediate -w stop >/dev/null 2>&1
"#;

pub(crate) struct Server {
    port: u16,
    keeper: std::sync::Mutex<(Child, BufReader<std::process::ChildStdout>)>,
}

/// The server that tests share; each has a database of its own.
pub(crate) fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    pub(crate) fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("files-pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Every user can reach it; where temporary files go otherwise may be root's alone.
        let home = Path::new("/tmp").join(name);
        fs::create_dir(&home).expect("a directory");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("its mode");
        give_to_postgres(&home);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.expect("a free port").port();
        let mut child = Command::new("sh")
            .args(["-c", KEEPER])
            .env("BIN", binaries())
            .env("HOME", &home)
            .current_dir(&home)
            .env("PORT", port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the tests: with them its input ends, and then it cleans up.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        said.read_line(&mut line).expect("an answer");
        assert_eq!(line, "ready\n", "{}", fs::read_to_string(home.join("log")).unwrap_or_default());
        Self { port, keeper: std::sync::Mutex::new((child, said)) }
    }

    /// Gives `pg_ctl` a command, and waits for it.
    pub(crate) fn control(&self, command: &str) {
        use std::io::Write;
        let mut keeper = self.keeper.lock().expect("no panic");
        let (child, said) = &mut *keeper;
        let stdin = child.stdin.as_mut().expect("its input");
        writeln!(stdin, "{command}").expect("it listens");
        let mut line = String::new();
        said.read_line(&mut line).expect("an answer");
        assert_eq!(line, "done\n");
    }

    pub(crate) fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn admin(&self, database: &str) -> PgConnection {
        PgConnection::connect(&url(self.port, database)).await.expect("the server")
    }

    pub(crate) async fn execute(&self, database: &str, sql: &str) {
        let mut admin = self.admin(database).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect(sql);
        admin.close().await.expect("closed");
    }

    pub(crate) async fn number(&self, database: &str, sql: &str) -> i64 {
        let mut admin = self.admin(database).await;
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut admin).await.expect(sql)
    }

    /// Waits until a question is answered with 1.
    pub(crate) async fn until(&self, question: &str) {
        for _ in 0..500 {
            if self.number("postgres", question).await == 1 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("never came true: {question}");
    }

    /// A new, empty database.
    pub(crate) async fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("files_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        name
    }

    pub(crate) fn options(&self, database: &str) -> PostgresOptions {
        options(self.port, database)
    }
}

pub(crate) fn options(port: u16, database: &str) -> PostgresOptions {
    let options = PostgresOptions::new(url(port, database).into());
    PostgresOptions { follow_database_clock: false, connections_max: 8, ..options }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://files@127.0.0.1:{port}/{database}?sslmode=disable")
}

fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut versions: Vec<PathBuf> =
        versions.map(|entry| entry.expect("a version").path()).collect();
    versions.sort();
    versions.pop().expect("PostgreSQL is installed").join("bin")
}

/// `initdb` refuses root.
fn give_to_postgres(home: &Path) {
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let ids = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    if let Some((uid, gid)) = ids
        && rustix::process::geteuid().is_root()
    {
        chown(home, Some(uid), Some(gid)).expect("the directory is postgres's");
    }
}
