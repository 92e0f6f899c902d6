//! One signed-in connection to the share. Knows what makes a session fit to carry blobs; not what is asked in it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use secrecy::ExposeSecret;
use smb2::{
    NegotiatedParams, Session as SignedIn, Tree,
    client::connection::Connection,
    crypto::encryption::Cipher,
    transport::ConnectOptions,
    types::{Dialect, FileId, SessionId, TreeId, flags::Capabilities, status::NtStatus},
};
use tokio::{runtime::Handle, time::timeout};

use super::{SmbEncryption, SmbOptions, error::SmbError, negotiation};

/// Most bytes of one READ or WRITE.
const PIECE_BYTES_MAX: u32 = 1024 * 1024;

/// How long a server may be silent before it is asked whether it is there.
const PROBE_AFTER: Duration = Duration::from_secs(5);

/// A connection that is signed in to the share.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) tree: Tree,
    /// Most bytes that the server takes or gives in one piece.
    pub(super) piece_bytes: usize,
    /// Closes what was dropped, on whatever thread that was.
    pub(super) runtime: Handle,
    id: SessionId,
    /// Directories that are kept open to be synced.
    directories: Mutex<HashMap<String, FileId>>,
}

impl Session {
    /// Connects and signs in, within the time that the options give. `previous` is the session that this one
    /// replaces: the server closes what that one left open.
    pub(super) async fn open(
        options: &SmbOptions,
        previous: Option<SessionId>,
    ) -> Result<Self, SmbError> {
        let opened = timeout(options.timeout, Self::sign_in(options, previous)).await;
        opened.unwrap_or(Err(SmbError::Late))
    }

    async fn sign_in(options: &SmbOptions, previous: Option<SessionId>) -> Result<Self, SmbError> {
        let mut connection = connect(options).await?;
        let params = connection.params().ok_or(SmbError::Dialect)?;
        if !matches!(params.dialect, Dialect::Smb3_0 | Dialect::Smb3_0_2 | Dialect::Smb3_1_1) {
            return Err(SmbError::Dialect);
        }
        if let Some(previous) = previous {
            connection.set_previous_session_id(previous);
        }
        let password = options.password.expose_secret();
        let (username, domain) = (&options.username, &options.domain);
        let signed_in = SignedIn::setup(&mut connection, username, password, domain).await;
        let signed_in = signed_in.map_err(SmbError::SignIn)?;
        encrypt(&mut connection, &signed_in, cipher(&params));
        let tree = open_share(&mut connection, &options.share).await?;
        if !connection.should_encrypt() {
            if options.encryption == SmbEncryption::Required {
                return Err(SmbError::NotEncrypted);
            }
            if !signed_in.should_sign {
                return Err(SmbError::Unprotected);
            }
        }
        let piece_bytes = params.max_read_size.min(params.max_write_size).min(PIECE_BYTES_MAX);
        Ok(Self {
            id: signed_in.session_id,
            connection,
            tree,
            piece_bytes: piece_bytes as usize,
            runtime: Handle::current(),
            directories: Mutex::default(),
        })
    }

    pub(super) const fn id(&self) -> SessionId {
        self.id
    }

    pub(super) const fn tree_id(&self) -> TreeId {
        self.tree.tree_id
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.connection.is_disconnected()
    }

    /// Ends a session that answered as if it were none, for everybody who shares it.
    pub(super) fn end_if_lost(&self, error: &SmbError) {
        if error.is_lost() {
            self.connection.mark_dead();
        }
    }

    /// A directory that was kept open.
    pub(super) fn kept_directory(&self, path: &str) -> Option<FileId> {
        let directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        directories.get(path).copied()
    }

    /// Keeps a directory open for as long as the session lives. Answers the one to use, and the one that is
    /// not needed where two were opened at once.
    pub(super) fn keep_directory(&self, path: &str, id: FileId) -> (FileId, Option<FileId>) {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        match directories.get(path) {
            Some(kept) => (*kept, Some(id)),
            None => {
                directories.insert(path.to_owned(), id);
                (id, None)
            }
        }
    }
}

async fn connect(options: &SmbOptions) -> Result<Connection, SmbError> {
    let address = options.address();
    let limits = ConnectOptions::with_timeout(options.timeout);
    let negotiated = async {
        let negotiating = negotiation::connect(&address, &options.host, limits).await?;
        let mut connection = negotiating.connection.clone();
        connection.set_compression_requested(false);
        connection.set_response_timeout(Some(options.timeout));
        connection.set_send_timeout(Some(options.timeout));
        connection.set_credit_wait_timeout(options.timeout);
        connection.set_keepalive(Some(PROBE_AFTER.min(options.timeout / 3)));
        negotiating.finish().await
    };
    let negotiated = negotiated.await;
    negotiated.map_err(|source| match source.status() {
        Some(NtStatus::NOT_SUPPORTED) => SmbError::Dialect,
        _ => SmbError::Unreachable { address, source },
    })
}

/// What both sides encrypt with. SMB 3.0 knows one cipher, and no other way to agree on it.
fn cipher(params: &NegotiatedParams) -> Option<Cipher> {
    let can_encrypt = params.capabilities.contains(Capabilities::ENCRYPTION);
    params.cipher.or_else(|| can_encrypt.then_some(Cipher::Aes128Ccm))
}

/// Encrypts from here on where both sides can, whether or not the server asks for it.
fn encrypt(connection: &mut Connection, session: &SignedIn, cipher: Option<Cipher>) {
    if connection.should_encrypt() {
        return;
    }
    let keys = (&session.encryption_key, &session.decryption_key);
    if let (Some(cipher), (Some(encrypt), Some(decrypt))) = (cipher, keys) {
        connection.activate_encryption(encrypt.clone(), decrypt.clone(), cipher);
    }
}

async fn open_share(connection: &mut Connection, share: &str) -> Result<Tree, SmbError> {
    let opened = Tree::connect(connection, share).await;
    let mut tree = opened.map_err(|source| SmbError::Share { share: share.to_owned(), source })?;
    // Paths are asked of this server alone: no referral leads to another one.
    connection.deregister_dfs_tree(tree.tree_id);
    tree.is_dfs = false;
    Ok(tree)
}
