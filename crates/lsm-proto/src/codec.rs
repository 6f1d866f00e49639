//! How the generated services of a node read requests.
//!
//! tonic calls bytes that are no message an internal error, of both sides alike. On the side of
//! a server that blames the wrong one: the caller is told that its request can never work.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::metadata::MetadataValue;
use tonic_prost::ProstEncoder;

use crate::words::{ERROR_KEY, INVALID};

/// Writes answers, and reads requests.
#[derive(Debug)]
pub(crate) struct ServerCodec<T, U> {
    messages: PhantomData<(T, U)>,
}

impl<T, U> Default for ServerCodec<T, U> {
    fn default() -> Self {
        Self { messages: PhantomData }
    }
}

impl<T, U> Codec for ServerCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Requests<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Requests { message: PhantomData }
    }
}

/// Reads requests.
#[derive(Debug)]
pub(crate) struct Requests<U> {
    message: PhantomData<U>,
}

impl<U: Message + Default> Decoder for Requests<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(bytes).map(Some).map_err(|error| {
            let mut status = Status::invalid_argument(format!("the request is garbled: {error}"));
            let word = MetadataValue::from_static(INVALID);
            status.metadata_mut().insert(ERROR_KEY, word);
            status
        })
    }
}
