//! Files over a bucket and over a share, beside the clients that people use straight to the same servers: the
//! `aws` command and `smbclient`. Everybody is a command that reads or writes a file, on all processors. Files
//! over its own disk says what is left of the time when storing costs next to nothing.

use std::{
    cell::{OnceCell, RefCell},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    rc::Rc,
};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;

use crate::{
    Bench,
    case::{Amount, Case, Run},
    content::Content,
    cpu::Cpus,
    samba_server, seaweed,
    server::FilesServer,
    upload::{Uploader, large_work as upload_work},
};

const OVER_DISK: &str = "limit: files over its own disk";

/// Where the content goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Bucket,
    Share,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Share => "share",
        }
    }

    const fn peer(self) -> &'static str {
        match self {
            Self::Bucket => "aws s3 cp",
            Self::Share => "smbclient, which does not sync",
        }
    }
}

/// A place, the service over it, and the file that goes there.
struct Lab<'a> {
    place: Place,
    directory: PathBuf,
    bench: &'a Bench,
    started: OnceCell<Started>,
}

struct Started {
    over_place: Service,
    over_disk: Service,
    file: PathBuf,
    cpus: Cpus,
}

/// A running service, and the file in it.
struct Service {
    server: FilesServer,
    id: RefCell<Option<String>>,
}

impl Service {
    const fn new(server: FilesServer) -> Self {
        Self { server, id: RefCell::new(None) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
        let server = format!("http://127.0.0.1:{}", self.server.grpc);
        command.env("FILES_SERVER", server).args(arguments);
        command
    }
}

/// Uploads and downloads of the large file by everybody, to both places.
pub(crate) fn cases<'a>(bench: &'a Bench, directory: &Path) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    for place in [Place::Bucket, Place::Share] {
        let lab = Rc::new(Lab {
            place,
            directory: directory.join(place.name()),
            bench,
            started: OnceCell::new(),
        });
        let amount = Amount::Bytes(bench.scale.large_bytes);
        let upload = format!("{} to a {}", upload_work(bench.scale.large_bytes), place.name());
        let download = upload.replace("upload", "download").replace(" to a ", " from a ");
        let mut case = |work: &str, by, run: fn(&Lab<'a>) -> Result<Run>| {
            let lab = Rc::clone(&lab);
            cases.push(Case::new(work, by, amount, move || run(&lab)));
        };
        case(&upload, "files", |lab| lab.upload(&lab.started()?.over_place));
        case(&upload, place.peer(), Lab::peer_upload);
        case(&upload, OVER_DISK, |lab| lab.upload(&lab.started()?.over_disk));
        case(&download, "files", |lab| lab.download(&lab.started()?.over_place));
        case(&download, place.peer(), Lab::peer_download);
        case(&download, OVER_DISK, |lab| lab.download(&lab.started()?.over_disk));
    }
    cases
}

impl Lab<'_> {
    fn started(&self) -> Result<&Started> {
        if let Some(started) = self.started.get() {
            return Ok(started);
        }
        let cpus: Cpus = "0-1".parse()?;
        std::fs::create_dir_all(&self.directory)?;
        let file = self.directory.join("large.txt");
        self.bench.large.write_to(&file)?;
        let place = self.place;
        let settings = cpus.run(|| match place {
            Place::Bucket => bucket("bench"),
            Place::Share => Ok(share()),
        })?;
        let over_place = FilesServer::start_with(&self.directory, &cpus, &settings)?;
        let over_disk = FilesServer::start(&self.directory.join("disk"), &cpus)?;
        Ok(self.started.get_or_init(|| Started {
            over_place: Service::new(over_place),
            over_disk: Service::new(over_disk),
            file,
            cpus,
        }))
    }

    /// The first one in each round does not count: memory that is fresh from the host costs more.
    fn upload(&self, service: &Service) -> Result<Run> {
        self.remove(service)?;
        self.upload_once(service)?;
        self.remove(service)?;
        Run::of(Some(&service.server.process), || self.upload_once(service))
    }

    fn upload_once(&self, service: &Service) -> Result<()> {
        let started = self.started()?;
        let mut command =
            service.command(&["upload", "--user", "bench", "--purpose", "user_data", "-q"]);
        let said = output(started, command.arg(&started.file))?;
        *service.id.borrow_mut() = Some(said.trim().to_owned());
        Ok(())
    }

    fn download(&self, service: &Service) -> Result<Run> {
        if service.id.borrow().is_none() {
            self.upload_once(service)?;
        }
        let started = self.started()?;
        let (id, target) = (service.id.borrow().clone().context("a file")?, self.target());
        let mut command = service.command(&["download", &id, "--output"]);
        command.arg(&target);
        let run =
            Run::of(Some(&service.server.process), || output(started, &mut command).map(drop))?;
        self.bench.large.check(&target)?;
        std::fs::remove_file(target)?;
        Ok(run)
    }

    fn peer_upload(&self) -> Result<Run> {
        let started = self.started()?;
        let file = started.file.display().to_string();
        let mut command = match self.place {
            Place::Bucket => aws(&[&file, &object()]),
            Place::Share => smbclient(&format!("put {file} peer.txt")),
        };
        output(started, &mut command)?;
        if self.place == Place::Share {
            // What is written over costs less than what is written anew.
            output(started, &mut smbclient("del peer.txt"))?;
        }
        Run::of(None, || output(started, &mut command).map(drop))
    }

    fn peer_download(&self) -> Result<Run> {
        let (started, target) = (self.started()?, self.target());
        let to = target.display().to_string();
        let mut command = match self.place {
            Place::Bucket => aws(&[&object(), &to]),
            Place::Share => smbclient(&format!("get peer.txt {to}")),
        };
        let run = Run::of(None, || output(started, &mut command).map(drop))?;
        self.bench.large.check(&target)?;
        std::fs::remove_file(target)?;
        Ok(run)
    }

    fn remove(&self, service: &Service) -> Result<()> {
        let Some(id) = service.id.borrow_mut().take() else {
            return Ok(());
        };
        let runtime: &Runtime = &self.bench.runtime;
        let uploader = runtime.block_on(Uploader::connect(service.server.grpc))?;
        runtime.block_on(uploader.delete_all(&[id]))
    }

    fn target(&self) -> PathBuf {
        self.directory.join("downloaded.txt")
    }
}

/// What a command says that succeeds.
fn output(started: &Started, command: &mut Command) -> Result<String> {
    let ended = started.cpus.run(|| Ok(command.stdin(Stdio::null()).output()?))?;
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.success(), "{command:?}: {errors}");
    Ok(String::from_utf8(ended.stdout)?)
}

pub(crate) type Settings = Vec<(&'static str, String)>;

/// Settings of a server over a bucket, below `prefix`.
pub(crate) fn bucket(prefix: &str) -> Result<Settings> {
    let store = seaweed::shared();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(store.ready());
    Ok(vec![
        ("FILES__STORAGE__URL", format!("s3://{}/{prefix}", seaweed::BUCKET)),
        ("FILES__STORAGE__S3__ENDPOINT", store.endpoint().to_string()),
        ("FILES__STORAGE__S3__ACCESS_KEY_ID", seaweed::ACCESS_KEY_ID.to_owned()),
        ("FILES__STORAGE__S3__SECRET_ACCESS_KEY", seaweed::SECRET_ACCESS_KEY.to_owned()),
    ])
}

fn object() -> String {
    format!("s3://{}/peer.txt", seaweed::BUCKET)
}

fn aws(copy: &[&str]) -> Command {
    let mut command = Command::new("aws");
    command
        .args(["--endpoint-url", seaweed::shared().endpoint().as_str(), "s3", "cp"])
        .args(copy)
        .env("AWS_ACCESS_KEY_ID", seaweed::ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", seaweed::SECRET_ACCESS_KEY)
        .env("AWS_DEFAULT_REGION", "us-east-1");
    command
}

fn share() -> Settings {
    let server = samba_server::shared();
    let options = server.options("bench");
    let (user, port, share) = (&options.username, options.port, &options.share);
    vec![
        ("FILES__STORAGE__URL", format!("smb://{user}@127.0.0.1:{port}/{share}/bench")),
        ("FILES__STORAGE__SMB__PASSWORD", samba_server::PASSWORD.to_owned()),
    ]
}

/// Encrypted, as the service's own sessions are with this server.
fn smbclient(command: &str) -> Command {
    let server = samba_server::shared();
    let options = server.options("bench");
    let mut smbclient = Command::new("smbclient");
    smbclient
        .arg(format!("//127.0.0.1/{}", options.share))
        .args(["-p", &options.port.to_string(), "--client-protection=encrypt"])
        .args(["-U", &format!("{}%{}", options.username, samba_server::PASSWORD)])
        .args(["-c", command]);
    smbclient
}

impl Content {
    /// Writes it to a file.
    fn write_to(&self, path: &Path) -> Result<()> {
        use std::io::Write;
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        self.pieces().try_for_each(|piece| file.write_all(&piece))?;
        Ok(file.flush()?)
    }

    /// Refuses a file that is not the same.
    fn check(&self, path: &Path) -> Result<()> {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(path)?;
        let mut piece = vec![0; 1 << 20];
        loop {
            match std::io::Read::read(&mut file, &mut piece)? {
                0 => break,
                read => hash.update(piece.get(..read).unwrap_or_default()),
            }
        }
        ensure!(hash.finalize().as_slice() == self.sha256, "{} is another file", path.display());
        Ok(())
    }
}
