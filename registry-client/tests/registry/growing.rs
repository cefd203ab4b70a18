//! Blobs that are sent while they are made.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{REPOSITORY, blob, client, reference};
use kiln_oci::Descriptor;
use kiln_registry_client::{BlobSource, Pushed};
use kiln_test_support::registry::{Auth, Fault, Registry};

/// A source whose first reader gets what is sent as it comes, and later ones all of it.
struct Growing {
    coming: Mutex<Option<Receiver<Vec<u8>>>>,
    whole: Vec<u8>,
}

impl Growing {
    fn new(whole: &[u8]) -> (Arc<Growing>, Sender<Vec<u8>>) {
        let (sender, coming) = channel();
        (Arc::new(Growing { coming: Mutex::new(Some(coming)), whole: whole.to_vec() }), sender)
    }
}

impl BlobSource for Growing {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self.coming.lock().unwrap().take() {
            Some(coming) => Box::new(Coming { coming, piece: io::Cursor::default() }),
            None => Box::new(io::Cursor::new(self.whole.clone())),
        })
    }
}

struct Coming {
    coming: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            let piece = if count == 0 { self.coming.recv().ok() } else { None };
            let Some(piece) = piece else { return Ok(count) };
            self.piece = io::Cursor::new(piece);
        }
    }
}

/// Sends a blob that comes in pieces, each when the registry was asked to take what is there.
async fn push(registry: &Registry, whole: &[u8], descriptor: &Descriptor) -> (Descriptor, Pushed) {
    let (source, sender) = Growing::new(whole);
    let made = async {
        while registry.count("PATCH", "/uploads/") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        whole.chunks(100_000).for_each(|piece| drop(sender.send(piece.to_vec())));
        drop(sender);
        Some(descriptor.clone())
    };
    client().push_growing_blob(&reference(registry, ""), source, made).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_is_there_is_sent_before_the_rest_is_made() {
    for auth in [Auth::Open, Auth::anonymous_tokens()] {
        let registry = Registry::start();
        registry.require(auth);
        registry.behave(|behaviour| behaviour.chunked_only = true);
        let (bytes, descriptor) = blob(3_000_000);
        assert_eq!(push(&registry, &bytes, &descriptor).await, (descriptor.clone(), Pushed::Uploaded));
        assert_eq!(registry.blob(REPOSITORY, &descriptor.digest).unwrap(), bytes);
        assert_eq!((registry.count("PATCH", "/uploads/"), registry.count("PUT", "/uploads/")), (1, 1));
    }
}

#[tokio::test]
async fn what_the_registry_cannot_take_so_it_gets_when_it_is_whole() {
    for fault in [Fault::Status(405), Fault::Status(411), Fault::Status(503), Fault::Reset(0)] {
        let registry = Registry::start();
        registry.fail("PATCH", "/uploads/", fault.clone(), 1);
        let (bytes, descriptor) = blob(300_000);
        assert_eq!(push(&registry, &bytes, &descriptor).await.1, Pushed::Uploaded, "{fault:?}");
        assert_eq!(registry.blob(REPOSITORY, &descriptor.digest).unwrap(), bytes, "{fault:?}");
    }
}

#[tokio::test]
async fn a_blob_that_turns_out_to_be_there_is_not_sent_to_its_end() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(3_000_000);
    registry.put_blob(REPOSITORY, bytes.clone());
    let (source, sender) = Growing::new(&bytes);
    // The last byte never comes, and nobody waits for it.
    sender.send(bytes[1..].to_vec()).unwrap();
    let made = async { Some(descriptor.clone()) };
    let pushed = client().push_growing_blob(&reference(&registry, ""), source, made).await.unwrap();
    assert_eq!(pushed, Some((descriptor, Pushed::Existed)));
    assert_eq!(registry.count("PUT", "/uploads/"), 0);
    drop(sender);
}

#[tokio::test]
async fn of_what_is_given_up_nothing_is_there() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(300_000);
    let (source, sender) = Growing::new(&bytes);
    sender.send(bytes[..200_000].to_vec()).unwrap();
    let pushed = client().push_growing_blob(&reference(&registry, ""), source, async { None }).await.unwrap();
    assert_eq!((pushed, registry.blob(REPOSITORY, &descriptor.digest)), (None, None));
    drop(sender);
}
