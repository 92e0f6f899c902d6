//! A Samba server of the tests' own, on loopback, in a directory of its own. It ends with the process.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use files::storage::smb::{SmbEncryption, SmbOptions};

pub(crate) const PASSWORD: &str = "a-Pass-That-Shows-Nowhere";

/// Starts the server, and stops it when nobody holds the other end of its standard input any more. All its
/// processes are one group, so that they can be killed at once.
const KEEPER: &str = r#"
start() {
    setsid smbd --foreground --no-process-group --debug-stdout -s "$HOME/smb.conf" >>"$HOME/log" 2>&1 &
    smbd=$!
}
end() {
    kill "-$1" "-$smbd" 2>/dev/null
    wait "$smbd" 2>/dev/null
    # Whoever reaps the others may take its time: a dead process holds nothing.
    while grep -qsE "\) [^ZX] [0-9]+ $smbd " /proc/[0-9]*/stat; do sleep 0.01; done
}
trap 'rm -rf "$HOME"' EXIT
printf '%s\n%s\n' "$PASSWORD" "$PASSWORD" | smbpasswd -c "$HOME/smb.conf" -s -a root >"$HOME/log" 2>&1 || exit 1
start
echo ready
while read -r command; do
    case $command in
        start) start ;;
        *) end "$command" ;;
    esac
    echo done
done
end KILL
"#;

pub(crate) struct Server {
    home: PathBuf,
    port: u16,
    keeper: Mutex<(Child, BufReader<ChildStdout>)>,
}

/// What is not as usual about a server.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// Lines of the section `[global]`.
    pub(crate) global: &'a str,
    /// Lines of the share's section.
    pub(crate) share: &'a str,
    /// Where the share is, if not in the server's own directory.
    pub(crate) path: Option<&'a Path>,
}

/// The server that tests share; each has a directory of its own.
pub(crate) fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&Setup::default()))
}

impl Server {
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let home = Path::new("/tmp").join(format!("files-smb-{}-{count}", std::process::id()));
        for directory in ["share", "private", "state", "cache", "lock", "pid", "ncalrpc"] {
            fs::create_dir_all(home.join(directory)).expect("a directory");
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.expect("a free port").port();
        fs::write(home.join("smb.conf"), configuration(&home, port, setup)).expect("a file");
        fs::write(home.join("users.map"), "root = filesvc\n").expect("a file");
        let mut child = Command::new("sh")
            .args(["-c", KEEPER])
            .env("HOME", &home)
            .env("PASSWORD", PASSWORD)
            .current_dir(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the tests: with them its input ends, and then it cleans up.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        said.read_line(&mut line).expect("an answer");
        let log = || fs::read_to_string(home.join("log")).unwrap_or_default();
        assert_eq!(line, "ready\n", "{}", log());
        let server = Self { home, port, keeper: Mutex::new((child, said)) };
        server.until_it_listens();
        server
    }

    /// Kills every process of the server at once.
    pub(crate) fn kill(&self) {
        self.control("KILL");
    }

    /// Starts the server again, at the same port and with the same data.
    pub(crate) fn restart(&self) {
        self.control("start");
        self.until_it_listens();
    }

    fn control(&self, command: &str) {
        let mut keeper = self.keeper.lock().expect("no panic");
        let (child, said) = &mut *keeper;
        writeln!(child.stdin.as_mut().expect("its input"), "{command}").expect("it listens");
        let mut line = String::new();
        said.read_line(&mut line).expect("an answer");
        assert_eq!(line, "done\n");
    }

    fn until_it_listens(&self) {
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{}", fs::read_to_string(self.home.join("log")).unwrap_or_default());
    }

    /// The directory of the share.
    pub(crate) fn share(&self) -> PathBuf {
        self.home.join("share")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A directory of the share that nothing else uses.
    pub(crate) fn directory(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("tests/{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn options(&self, directory: &str) -> SmbOptions {
        SmbOptions {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            share: "files".to_owned(),
            directory: directory.to_owned(),
            username: "filesvc".to_owned(),
            domain: String::new(),
            password: PASSWORD.into(),
            encryption: SmbEncryption::WhenAvailable,
            connections_max: 3,
            timeout: Duration::from_secs(10),
        }
    }
}

fn configuration(home: &Path, port: u16, setup: &Setup<'_>) -> String {
    let share = setup.path.map_or_else(|| home.join("share"), Path::to_path_buf);
    let (home, share) = (home.display(), share.display());
    format!(
        "[global]
server role = standalone server
disable netbios = yes
smb ports = {port}
interfaces = 127.0.0.1
bind interfaces only = yes
server min protocol = SMB3
server signing = mandatory
map to guest = never
passdb backend = tdbsam:{home}/private/passdb.tdb
private dir = {home}/private
state directory = {home}/state
cache directory = {home}/cache
lock directory = {home}/lock
pid directory = {home}/pid
ncalrpc dir = {home}/ncalrpc
load printers = no
printcap name = /dev/null
disable spoolss = yes
username map = {home}/users.map
{}
[files]
path = {share}
read only = no
valid users = root
force user = root
{}
",
        setup.global, setup.share
    )
}
