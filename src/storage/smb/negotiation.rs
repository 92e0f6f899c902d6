//! A connection that says of itself that it can encrypt. The library offers its ciphers without the capability
//! (MS-SMB2 2.2.3), and Samba then takes none of them. It also makes a signing key of the wrong length where a
//! cipher of 256 bits is chosen. So what it offers is put right on the way out, and the hash by which both sides
//! later prove what was negotiated is taken of what was really sent.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use smb2::{
    Result,
    client::connection::Connection,
    crypto::kdf::PreauthHasher,
    msg::{
        header::Header,
        negotiate::{CIPHER_AES_128_CCM, CIPHER_AES_128_GCM, NegotiateContext, NegotiateRequest},
    },
    pack::{Pack, ReadCursor, Unpack, WriteCursor},
    transport::{ConnectOptions, ReceiveProgress, TcpTransport, TransportReceive, TransportSend},
    types::flags::Capabilities,
};

/// A way to a server that has not negotiated yet.
struct Way {
    transport: TcpTransport,
    has_asked: AtomicBool,
    was_answered: AtomicBool,
    hash: Mutex<PreauthHasher>,
}

/// Connects to the server at `address`, which is called `host`.
pub(super) async fn connect(
    address: &str,
    host: &str,
    limits: ConnectOptions,
) -> Result<Negotiating> {
    let way = Arc::new(Way {
        transport: TcpTransport::connect_with(address, limits).await?,
        has_asked: AtomicBool::new(false),
        was_answered: AtomicBool::new(false),
        hash: Mutex::new(PreauthHasher::new()),
    });
    let halves = (Box::new(Half(Arc::clone(&way))), Box::new(Half(Arc::clone(&way))));
    Ok(Negotiating { connection: Connection::from_transport(halves.0, halves.1, host), way })
}

/// A connection before its first request.
pub(super) struct Negotiating {
    /// For setting its limits.
    pub(super) connection: Connection,
    way: Arc<Way>,
}

impl Negotiating {
    /// Negotiates; the connection can sign in then.
    pub(super) async fn finish(mut self) -> Result<Connection> {
        self.connection.negotiate().await?;
        let hash = self.way.hash().clone();
        self.connection.with_preauth_hasher_mut(|hasher| *hasher = hash);
        Ok(self.connection)
    }
}

impl Way {
    fn hash(&self) -> std::sync::MutexGuard<'_, PreauthHasher> {
        self.hash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Half(Arc<Way>);

#[async_trait]
impl TransportSend for Half {
    async fn send(&self, data: &[u8]) -> Result<()> {
        if self.0.has_asked.swap(true, Ordering::AcqRel) {
            return self.0.transport.send(data).await;
        }
        let announced = announce_encryption(data)?;
        self.0.hash().update(&announced);
        self.0.transport.send(&announced).await
    }
}

#[async_trait]
impl TransportReceive for Half {
    async fn receive(&self) -> Result<Vec<u8>> {
        let data = self.0.transport.receive().await?;
        if !self.0.was_answered.swap(true, Ordering::AcqRel) {
            self.0.hash().update(&data);
        }
        Ok(data)
    }

    fn receive_progress(&self) -> Option<Arc<ReceiveProgress>> {
        self.0.transport.receive_progress()
    }
}

/// The same NEGOTIATE request of a client that encrypts with 128 bits.
fn announce_encryption(negotiate: &[u8]) -> Result<Vec<u8>> {
    let mut cursor = ReadCursor::new(negotiate);
    let header = Header::unpack(&mut cursor)?;
    let mut request = NegotiateRequest::unpack(&mut cursor)?;
    request.capabilities.set(Capabilities::ENCRYPTION);
    for context in &mut request.negotiate_contexts {
        if let NegotiateContext::Encryption { ciphers } = context {
            ciphers.retain(|cipher| [CIPHER_AES_128_GCM, CIPHER_AES_128_CCM].contains(cipher));
        }
    }
    let mut announced = WriteCursor::new();
    header.pack(&mut announced);
    request.pack(&mut announced);
    Ok(announced.into_inner())
}

#[cfg(test)]
mod tests {
    use smb2::{
        msg::negotiate::{CIPHER_AES_256_GCM, HASH_ALGORITHM_SHA512},
        pack::Guid,
        types::{Command, Dialect, flags::SecurityMode},
    };

    use super::*;

    fn request(capabilities: u32, ciphers: &[u16]) -> NegotiateRequest {
        let hashes = NegotiateContext::PreauthIntegrity {
            hash_algorithms: vec![HASH_ALGORITHM_SHA512],
            salt: vec![7; 32],
        };
        NegotiateRequest {
            security_mode: SecurityMode::new(SecurityMode::SIGNING_ENABLED),
            capabilities: Capabilities::new(capabilities),
            client_guid: Guid { data1: 1, data2: 2, data3: 3, data4: [4; 8] },
            dialects: vec![Dialect::Smb3_0, Dialect::Smb3_1_1],
            negotiate_contexts: vec![
                hashes,
                NegotiateContext::Encryption { ciphers: ciphers.to_vec() },
            ],
        }
    }

    #[test]
    fn nothing_but_the_encryption_is_announced_in_another_way() -> Result<()> {
        let mut cursor = WriteCursor::new();
        let header = Header::new_request(Command::Negotiate);
        header.pack(&mut cursor);
        let offered = [CIPHER_AES_256_GCM, CIPHER_AES_128_GCM, CIPHER_AES_128_CCM];
        request(Capabilities::LARGE_MTU, &offered).pack(&mut cursor);
        let announced = announce_encryption(&cursor.into_inner())?;
        let mut cursor = ReadCursor::new(&announced);
        assert_eq!(Header::unpack(&mut cursor)?, header);
        let capabilities = Capabilities::LARGE_MTU | Capabilities::ENCRYPTION;
        let expected = request(capabilities, &[CIPHER_AES_128_GCM, CIPHER_AES_128_CCM]);
        assert_eq!(NegotiateRequest::unpack(&mut cursor)?, expected);
        Ok(())
    }
}
