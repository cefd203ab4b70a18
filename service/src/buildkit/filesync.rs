//! `FileSync`: the files of a client's folder, as differences to those that came before.

use std::collections::HashMap;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_client::FileSyncClient;
use kiln_engine::build::received::{Filling, Received, Receiving};
use kiln_engine::build::{TreeEntry, Wanted};
use kiln_engine::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Status, Streaming};

use super::packets::{entry, is_regular, packet};
use super::session::Session;

/// What a client must serve for this.
const METHOD: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// The most files whose content comes at the same time; clients send a few.
const MAX_OPEN: usize = 128;
/// The most bytes of one packet.
const MAX_PACKET: usize = 4 << 20;

/// Brings what is `wanted` of a client's folder into `received`. Runs on a thread that may wait for the disk.
pub(super) async fn receive(
    session: &Session,
    wanted: &Wanted,
    received: &Received,
    cancel: &CancellationToken,
) -> Result<()> {
    let transfer = async {
        if !session.supports(METHOD) {
            return Err(failed(wanted, "the client offers no local folders"));
        }
        let (answers, outgoing) = mpsc::unbounded_channel();
        let mut request = Request::new(Packets(outgoing));
        *request.metadata_mut() = metadata(wanted)?;
        let client = FileSyncClient::new(session.channel()).max_decoding_message_size(MAX_PACKET);
        let stream = { client }.diff_copy(request).await.map_err(|status| of_status(wanted, &status))?;
        let transfer = Transfer {
            wanted,
            receiving: received.receive(),
            answers,
            files: HashMap::new(),
            open: HashMap::new(),
            next: 0,
            listed: false,
        };
        transfer.run(stream.into_inner()).await
    };
    tokio::select! {
        done = transfer => done,
        () = session.closed() => Err(failed(wanted, "the client went away")),
        () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the build was cancelled")),
    }
}

/// What goes to the client.
struct Packets(mpsc::UnboundedReceiver<Packet>);

impl futures_util::Stream for Packets {
    type Item = Packet;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Packet>> {
        self.0.poll_recv(context)
    }
}

/// A transfer under way.
struct Transfer<'a> {
    wanted: &'a Wanted,
    receiving: Receiving<'a>,
    answers: mpsc::UnboundedSender<Packet>,
    /// Files that were asked for and did not begin to come.
    files: HashMap<u32, TreeEntry>,
    /// Files that come.
    open: HashMap<u32, Filling>,
    /// The number of the next file.
    next: u32,
    /// Whether all files were named.
    listed: bool,
}

impl Transfer<'_> {
    async fn run(mut self, mut stream: Streaming<Packet>) -> Result<()> {
        while !(self.listed && self.files.is_empty() && self.open.is_empty()) {
            let next = stream.message().await.map_err(|status| of_status(self.wanted, &status))?;
            let Some(next) = next else {
                return Err(failed(self.wanted, "the client stopped in the middle"));
            };
            let taken = self.take(next);
            if let Err(error) = taken {
                self.answer(Packet { data: error.chain().into_bytes(), ..packet(PacketType::PacketErr) });
                return Err(error);
            }
        }
        let Transfer { wanted, receiving, answers, .. } = self;
        receiving.finish()?;
        // Whether the client hears it or is gone makes no difference any more.
        drop(answers.send(packet(PacketType::PacketFin)));
        while let Some(next) = stream.message().await.map_err(|status| of_status(wanted, &status))? {
            if next.r#type() == PacketType::PacketFin {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, next: Packet) -> Result<()> {
        match next.r#type() {
            PacketType::PacketStat => match next.stat {
                Some(stat) if !self.listed => self.name(is_regular(stat.mode), entry(stat)),
                Some(_) => Err(failed(self.wanted, "the client names a file after the last")),
                None => {
                    self.listed = true;
                    Ok(())
                }
            },
            PacketType::PacketData => self.data(next.id, &next.data),
            PacketType::PacketErr => {
                Err(failed(self.wanted, &format!("the client says: {}", String::from_utf8_lossy(&next.data))))
            }
            PacketType::PacketReq | PacketType::PacketFin => {
                Err(failed(self.wanted, "the client sends what only a receiver does"))
            }
        }
    }

    fn name(&mut self, is_regular: bool, entry: TreeEntry) -> Result<()> {
        let id = self.next;
        self.next += 1;
        if self.receiving.entry(&entry)? && is_regular {
            self.files.insert(id, entry);
            self.answer(Packet { id, ..packet(PacketType::PacketReq) });
        }
        Ok(())
    }

    /// Some bytes of a file; none are its end.
    fn data(&mut self, id: u32, bytes: &[u8]) -> Result<()> {
        if let Some(entry) = self.files.remove(&id) {
            if self.open.len() >= MAX_OPEN {
                return Err(failed(self.wanted, "the client sends too many files at once"));
            }
            self.open.insert(id, self.receiving.create(entry)?);
        }
        let Some(filling) = self.open.get_mut(&id) else {
            return Err(failed(self.wanted, "the client sends a file that was not asked for"));
        };
        if !bytes.is_empty() {
            return filling.write(bytes);
        }
        self.open.remove(&id).map_or(Ok(()), Filling::finish)
    }

    fn answer(&self, packet: Packet) {
        // Who does not read any more is noticed at the next packet.
        drop(self.answers.send(packet));
    }
}

fn failed(wanted: &Wanted, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("receive the local context `{}`: {why}", wanted.name))
}

fn of_status(wanted: &Wanted, status: &Status) -> Error {
    failed(wanted, status.message())
}

/// What is asked for. Other than ASCII is told escaped, as URLs have it.
fn metadata(wanted: &Wanted) -> Result<MetadataMap> {
    let mut metadata = MetadataMap::new();
    let include: Vec<String> =
        wanted.include.iter().filter(|path| !wanted.follow.contains(path)).cloned().collect();
    let words: [(&'static str, &'static str, &[String]); 4] = [
        ("dir-name", "dir-name-encoded", std::slice::from_ref(&wanted.name)),
        ("include-patterns", "include-patterns-encoded", &include),
        ("exclude-patterns", "exclude-patterns-encoded", &wanted.exclude),
        ("followpaths", "followpaths-encoded", &wanted.follow),
    ];
    for (key, told_encoded, values) in words {
        let encoded = values.iter().any(|value| !value.is_ascii());
        if encoded {
            metadata.insert(told_encoded, MetadataValue::from_static("1"));
        }
        for value in values {
            let value = if encoded { escaped(value) } else { value.clone() };
            let value = value.parse().map_err(|_| failed(wanted, "a pattern has control characters"))?;
            metadata.append(key, value);
        }
    }
    Ok(metadata)
}

/// A text as in the query of a URL.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::fsutil::types::Stat;
    use kiln_engine::{Config, Engine};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_asked_for_is_told_in_headers() {
        let wanted = Wanted {
            name: "context".to_owned(),
            include: vec!["a".to_owned(), "b".to_owned()],
            exclude: vec!["*.ü x".to_owned()],
            follow: vec!["a".to_owned()],
            ..Wanted::default()
        };
        let metadata = metadata(&wanted).unwrap();
        let all =
            |key: &str| metadata.get_all(key).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("dir-name"), ["context"]);
        assert_eq!((all("include-patterns"), all("followpaths")), (vec!["b"], vec!["a"]));
        assert_eq!(all("exclude-patterns"), ["%2A.%C3%BC+x"]);
        assert_eq!(all("exclude-patterns-encoded"), ["1"]);
        assert!(metadata.get("followpaths-encoded").is_none());
    }
    fn any_packet() -> impl Strategy<Value = Packet> {
        let name = prop_oneof!["[ab]", "[ab]/[ab]", "(\\.\\.|/|a)/[ab]", Just(String::new()), ".{0,4}"];
        let mode = prop_oneof![Just(0o644), Just(1_u32 << 31 | 0o755), Just(1 << 27 | 0o777), any::<u32>()];
        let stat = (name.clone(), mode, name, any::<i64>(), any::<i64>(), any::<u32>());
        let stat = stat.prop_map(|(path, mode, linkname, size, mod_time, uid)| Stat {
            path,
            mode,
            linkname,
            size,
            mod_time,
            uid,
            ..Stat::default()
        });
        let data = prop::collection::vec(any::<u8>(), 0..3);
        let packet = (0..7, prop::option::of(stat), 0_u32..4, data);
        packet.prop_map(|(kind, stat, id, data)| Packet { r#type: kind, stat, id, data })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        /// B13: whatever a client sends, and in whatever order, is a folder or an error, and nothing beside it changes.
        #[test]
        fn no_packets_do_harm(packets in prop::collection::vec(any_packet(), 0..24)) {
            let dir = tempfile::tempdir().unwrap();
            let engine = Engine::open(Config::new(dir.path().join("state"))).unwrap();
            let received = engine.received("key").unwrap();
            let canary = received.path().parent().unwrap().join("canary");
            std::fs::write(&canary, "alive").unwrap();
            let (wanted, (answers, _outgoing)) = (Wanted::default(), mpsc::unbounded_channel());
            let mut transfer = Transfer {
                wanted: &wanted,
                receiving: received.receive(),
                answers,
                files: HashMap::new(),
                open: HashMap::new(),
                next: 0,
                listed: false,
            };
            if packets.into_iter().all(|packet| transfer.take(packet).is_ok()) {
                drop(transfer.receiving.finish());
            }
            prop_assert_eq!(std::fs::read_to_string(canary).unwrap(), "alive");
        }
    }
}
