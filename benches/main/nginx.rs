//! nginx beside the service: the same files behind its own signed URLs (`secure_link`), in two settings.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use md5::{Digest, Md5};

use crate::{
    content::Content,
    cpu::Cpus,
    process::{Process, free_port},
};

/// Where Debian installs it, which is not on everybody's path.
const PROGRAM: &str = "/usr/sbin/nginx";
const PACKAGE: &str = "nginx is missing: apt-get install nginx-light";
const SECRET: &str = "nginx-secret-0123456789abcdef0123";
const LINK_LIFE_S: u64 = 24 * 3600;

/// How files are read and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// As it is commonly set up.
    Sendfile,
    /// As it is fastest on loopback: large buffers instead of sendfile, and descriptors kept open.
    Buffers,
}

impl Setting {
    pub(crate) const ALL: [Self; 2] = [Self::Sendfile, Self::Buffers];

    /// What the table calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sendfile => "nginx: secure_link, sendfile",
            Self::Buffers => "nginx: secure_link, 256 KiB buffers, open_file_cache",
        }
    }

    const fn directives(self) -> &'static str {
        match self {
            Self::Sendfile => "sendfile on; tcp_nopush on;",
            Self::Buffers => {
                "sendfile off; output_buffers 2 256k; open_file_cache max=8192 inactive=1h; \
                 open_file_cache_valid 1h;"
            }
        }
    }
}

/// A running nginx.
pub(crate) struct Nginx {
    /// Its process.
    pub(crate) process: Process,
    ports: [(Setting, u16); 2],
}

impl Nginx {
    /// Starts one on `cpus`, serving `large` and `small` from below `place`.
    pub(crate) fn start(
        place: &Path,
        cpus: &Cpus,
        large: &Content,
        small: &[Content],
    ) -> Result<Self> {
        check_program()?;
        let root = place.join("root");
        fs::create_dir_all(&root)?;
        for content in std::iter::once(large).chain(small) {
            content.write_into(&root)?;
        }
        let ports = [(Setting::Sendfile, free_port()?), (Setting::Buffers, free_port()?)];
        let config = place.join("nginx.conf");
        fs::write(&config, configuration(place, &root, &ports)?)?;
        let mut command = Command::new(PROGRAM);
        command.arg("-p").arg(place).arg("-c").arg(config);
        let process =
            Process::start(&mut command, cpus, &place.join("log"), &ports.map(|it| it.1))?;
        Ok(Self { process, ports })
    }

    /// The port on which files are served in this setting.
    pub(crate) fn port(&self, setting: Setting) -> Option<u16> {
        self.ports.into_iter().find(|(it, _)| *it == setting).map(|(_, port)| port)
    }
}

/// The signed path and query of a file.
pub(crate) fn link(content: &Content) -> Result<String> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (expires, uri) = (now_s + LINK_LIFE_S, format!("/{}", content.name));
    let md5 = Md5::digest(format!("{expires}{uri} {SECRET}"));
    Ok(format!("{uri}?md5={}&expires={expires}", URL_SAFE_NO_PAD.encode(md5)))
}

fn check_program() -> Result<()> {
    let output = Command::new(PROGRAM).arg("-V").output().context(PACKAGE)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("http_secure_link_module"), "{PACKAGE} (this one has no secure_link)");
    Ok(())
}

fn configuration(place: &Path, root: &Path, ports: &[(Setting, u16)]) -> Result<String> {
    let (place, root) = (place.display(), root.display());
    let user = if is_root()? { "user root;" } else { "" };
    let mut servers = String::new();
    for (setting, port) in ports {
        let directives = setting.directives();
        write!(
            servers,
            "server {{
                listen 127.0.0.1:{port} backlog=1024;
                root {root};
                {directives}
                location / {{
                    secure_link $arg_md5,$arg_expires;
                    secure_link_md5 \"$secure_link_expires$uri {SECRET}\";
                    if ($secure_link = \"\") {{ return 403; }}
                    if ($secure_link = \"0\") {{ return 410; }}
                }}
            }}\n"
        )?;
    }
    Ok(format!(
        "{user} daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; keepalive_requests 1000000000; types {{ text/plain txt; }}
            client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
            fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
            {servers}
        }}\n"
    ))
}

/// Root's nginx would otherwise serve as a user who may not read below the build directory.
fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}
