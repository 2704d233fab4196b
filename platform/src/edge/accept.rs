//! Content negotiation by the header `Accept`.

use headers_accept::Accept;
use http::{HeaderMap, header};
use mediatype::{MediaType, MediaTypeBuf, MediaTypeList, ReadParams, names::Q};

/// The value paired with the media type that the client prefers (RFC 9110, section 12.5.1), if it accepts any. Among
/// equals, the one matched more precisely wins, then the first.
pub fn negotiate<T: Copy>(headers: &HeaderMap, available: &[(MediaType<'_>, T)]) -> Option<T> {
    let mut ranges = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        let value = String::from_utf8_lossy(value.as_bytes());
        // Empty and malformed ranges are ignored.
        ranges.extend(MediaTypeList::new(&value).flatten().map(with_quality_only));
    }
    let accept: Accept = ranges.join(", ").parse().ok()?;
    let preferred = accept.negotiate(available.iter().map(|(media_type, _)| media_type))?;
    available.iter().find(|(media_type, _)| media_type == preferred).map(|(_, value)| *value)
}

/// The range without parameters such as `charset`, which do not matter here.
fn with_quality_only(range: MediaType<'_>) -> String {
    let quality: Vec<_> = range.params().filter(|(name, _)| *name == Q).collect();
    MediaTypeBuf::from_parts(range.ty, range.subty, range.suffix, &quality).to_string()
}
