//! A session against a session, byte by byte; and streams against the library's own client.

use std::io::{Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConnection, RootCertStore, StreamOwned};

use super::super::stream::Peek;
use super::super::stream::tests::on_every_driver;
use super::*;

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("gateway.test").unwrap()
}

/// Two sessions behind their handshake, bytes handed over in pieces of `piece`.
fn connected(piece: usize) -> (Session, Session) {
    let (server, client) = configs();
    let mut server = Session::server(server).unwrap();
    let mut client = Session::client(client, name()).unwrap();
    let (mut server_done, mut client_done) = (false, false);
    for _ in 0..20 {
        client_done |= client.shake_hands().unwrap();
        for part in client.take_outgoing().chunks(piece) {
            server.feed(part.to_vec());
            server_done |= server.shake_hands().unwrap();
        }
        for part in server.take_outgoing().chunks(piece) {
            client.feed(part.to_vec());
            client_done |= client.shake_hands().unwrap();
        }
        if server_done && client_done {
            return (server, client);
        }
    }
    panic!("no end of the handshake");
}

/// All that `session` has to send for `plaintext`.
fn sealed(session: &mut Session, mut plaintext: &[u8]) -> Vec<u8> {
    let mut ciphertext = Vec::new();
    while !plaintext.is_empty() {
        let mut record = vec![0; SEALED_BYTES_MAX];
        let (taken, bytes) = session.seal(plaintext, &mut record).unwrap();
        ciphertext.extend_from_slice(&record[..bytes]);
        plaintext = &plaintext[taken..];
    }
    ciphertext
}

#[test]
fn a_handshake_survives_any_fragmentation() {
    for piece in [1, 3, 100, 5_000] {
        connected(piece);
    }
}

#[test]
fn an_announced_end_is_an_end_and_garbage_is_an_error() {
    let (mut server, mut client) = connected(9_000);
    let mut last = Vec::new();
    client.say_end(&mut last);
    server.feed(last);
    assert_eq!(server.deliver(&mut Vec::new(), 10), Ok(Delivered::Bytes(0)));
    let (mut server, _) = connected(9_000);
    server.feed(vec![0x17, 3, 3, 0, 40].into_iter().chain([7; 40]).collect());
    assert!(server.deliver(&mut Vec::new(), 10).is_err());
    assert!(!server.take_outgoing().is_empty(), "the alert");
    assert!(server.seal(b"x", &mut vec![0; SEALED_BYTES_MAX]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_sealed_is_delivered_whatever_the_pieces_and_buffers(
        sizes in prop::collection::vec(1..60_000_usize, 1..4),
        pieces in prop::collection::vec(1..20_000_usize, 1..6),
        rooms in prop::collection::vec(1..20_000_usize, 1..6),
    ) {
        let (mut server, mut client) = connected(9_000);
        let sent: Vec<u8> = sizes
            .iter()
            .flat_map(|size| (0..*size).map(|n| u8::try_from(n % 251).unwrap()))
            .collect();
        let ciphertext = sealed(&mut client, &sent);
        let (mut got, mut at) = (Vec::new(), 0);
        let (mut pieces, mut rooms) = (pieces.iter().cycle(), rooms.iter().cycle());
        while at < ciphertext.len() {
            let end = (at + pieces.next().unwrap()).min(ciphertext.len());
            server.feed(ciphertext[at..end].to_vec());
            at = end;
            // The other direction goes on in the middle of a record.
            let answer = sealed(&mut server, b"pong");
            client.feed(answer);
            let mut pong = Vec::new();
            prop_assert_eq!(client.deliver(&mut pong, 4), Ok(Delivered::Bytes(4)));
            while let Delivered::Bytes(_) = server.deliver(&mut got, *rooms.next().unwrap()).unwrap() {}
        }
        prop_assert!(got == sent);
        prop_assert!(!server.holds_bytes());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (server, _) = configs();
        let mut session = Session::server(server).unwrap();
        session.feed(bytes);
        let _ = session.shake_hands();
        let mut last = Vec::new();
        session.say_end(&mut last);
    }
}

/// A stream of ours as the server, and the library's client in a thread of its own.
async fn with_client(
    script: impl FnOnce(StreamOwned<ClientConnection, std::net::TcpStream>) + Send + 'static,
) -> (Stream, std::thread::JoinHandle<()>) {
    let (server, client) = configs();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let socket = std::net::TcpStream::connect(address).unwrap();
        let connection = ClientConnection::new(client, name()).unwrap();
        script(StreamOwned::new(connection, socket));
    });
    let listener = crate::io::Listener::adopt({
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let (stream, _) = listener.unwrap().accept().await.unwrap();
    (accept(stream, server).await.unwrap(), thread)
}

#[test]
fn bodies_of_any_size_go_both_ways_at_once_and_the_end_is_seen() {
    on_every_driver(async || {
        const BYTES: usize = 3 << 20;
        let (mut stream, client) = with_client(|mut client| {
            client.write_all(&vec![b'u'; BYTES]).unwrap();
            let mut down = vec![0; BYTES];
            client.read_exact(&mut down).unwrap();
            assert!(down.iter().all(|byte| *byte == b'd'));
            client.conn.refresh_traffic_keys().unwrap();
            client.write_all(b"after a key update").unwrap();
            client.conn.send_close_notify();
            client.flush().unwrap();
            assert_eq!(
                client.read(&mut [0; 8]).unwrap(),
                0,
                "the gateway's own end"
            );
        })
        .await;
        let mut up = 0;
        while up < BYTES {
            let (outcome, buffer) = stream.read.read(Vec::with_capacity(10_000)).await;
            up += outcome.unwrap();
            assert!(buffer.iter().all(|byte| *byte == b'u'));
        }
        let (outcome, _) = stream.write.write_all(vec![b'd'; BYTES], 0).await;
        assert_eq!(outcome.unwrap(), BYTES);
        let mut rest = Vec::with_capacity(64);
        loop {
            let outcome;
            (outcome, rest) = stream.read.read(rest).await;
            if outcome.unwrap() == 0 {
                break;
            }
        }
        assert_eq!(rest, b"after a key update");
        stream.write.finish().await;
        drop(stream);
        client.join().unwrap();
    });
}

#[test]
fn an_end_without_a_word_is_an_error() {
    on_every_driver(async || {
        let (mut stream, client) = with_client(|mut client| {
            client.write_all(b"half of i").unwrap();
            client.flush().unwrap();
            client.sock.shutdown(std::net::Shutdown::Write).unwrap();
            // Until the gateway closes, so that no ticket makes this end a reset.
            let _ = client.sock.read_to_end(&mut Vec::new());
        })
        .await;
        let (outcome, buffer) = stream.read.read(Vec::with_capacity(64)).await;
        assert_eq!((outcome.unwrap(), &buffer[..]), (9, &b"half of i"[..]));
        let (outcome, _) = stream.read.read(buffer).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        drop(stream);
        crate::io::sleep(std::time::Duration::from_millis(1)).await;
        client.join().unwrap();
    });
}

#[test]
fn tickets_on_a_connection_that_rests_are_no_answer_and_data_is() {
    on_every_driver(async || {
        let (server, client) = configs();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (say, said) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(server).unwrap();
            let mut stream = StreamOwned::new(connection, socket);
            // Ends the handshake, and sends the tickets behind it.
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            said.recv().unwrap();
            stream.write_all(b"unasked").unwrap();
            stream.flush().unwrap();
            said.recv().unwrap();
        });
        let stream = Stream::connect(&address.into()).await.unwrap();
        let mut stream = connect(stream, client, name()).await.unwrap();
        stream.write.write_all(b"ping".to_vec(), 0).await.0.unwrap();
        // The tickets may be on their way still: whenever they come, the connection is quiet.
        for _ in 0..20 {
            assert_eq!(stream.look(), Peek::Quiet);
            crate::io::sleep(std::time::Duration::from_millis(1)).await;
        }
        say.send(()).unwrap();
        while stream.look() == Peek::Quiet {
            crate::io::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(stream.look(), Peek::Bytes);
        say.send(()).unwrap();
        thread.join().unwrap();
    });
}
