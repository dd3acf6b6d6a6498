//! What a failed exchange is called in `wasi:http`. Pure.

use wasmtime::component::Resource;

use super::HttpView;
use super::types::{self, DnsErrorPayload, ErrorCode};
use crate::outbound::OutboundError;

impl From<OutboundError> for ErrorCode {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::NotGranted => Self::HttpRequestDenied,
            OutboundError::AddressProhibited => Self::DestinationIpProhibited,
            OutboundError::TooMany(_) => Self::ConnectionLimitReached,
            OutboundError::InvalidRequest => Self::HttpRequestUriInvalid,
            OutboundError::RequestTooLarge(max) => Self::HttpRequestBodySize(Some(max)),
            // The last two are answers to WebSockets only.
            OutboundError::RequestUnfinished
            | OutboundError::Protocol
            | OutboundError::Rejected(_)
            | OutboundError::NoWebSocket(_) => Self::HttpProtocolError,
            OutboundError::NameNotFound => Self::DnsError(DnsErrorPayload {
                rcode: None,
                info_code: None,
            }),
            OutboundError::ConnectTimeout => Self::ConnectionTimeout,
            OutboundError::Refused => Self::ConnectionRefused,
            OutboundError::Unreachable => Self::DestinationUnavailable,
            OutboundError::Certificate => Self::TlsCertificateError,
            OutboundError::Tls => Self::TlsProtocolError,
            OutboundError::FirstByteTimeout | OutboundError::StoodStill => {
                Self::ConnectionReadTimeout
            }
            OutboundError::ResponseTimeout => Self::HttpResponseTimeout,
            OutboundError::ResponseTooLarge(max) => Self::HttpResponseBodySize(Some(max)),
            OutboundError::HeadTooLarge(max) => Self::HttpResponseHeaderSectionSize(Some(max)),
            OutboundError::Terminated => Self::ConnectionTerminated,
        }
    }
}

impl types::Host for HttpView<'_> {
    fn http_error_code(
        &mut self,
        error: Resource<types::IoError>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?.downcast_ref::<OutboundError>();
        Ok(error.copied().map(ErrorCode::from))
    }
}
