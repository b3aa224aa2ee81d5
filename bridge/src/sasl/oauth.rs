//! OAUTHBEARER: a token in one message (RFC 7628, KIP-255), and the broker's error.

use super::SaslError;

/// Separates the parts of a message.
const SEPARATOR: char = '\u{1}';
/// Bytes of a broker's error that people are shown.
const ERROR_BYTES_MAX: usize = 300;

/// The client's message: no channel binding, the token, the extensions.
pub(super) fn first(token: &str, extensions: &[(String, String)]) -> Result<Vec<u8>, SaslError> {
    let visible = |c: char| c.is_ascii_graphic();
    if token.is_empty() || !token.chars().all(visible) {
        return Err(SaslError::Unusable("a token is visible ASCII without spaces"));
    }
    let mut message = format!("n,,{SEPARATOR}auth=Bearer {token}{SEPARATOR}");
    for (name, value) in extensions {
        let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic());
        if !named || name == "auth" || !value.chars().all(|c| visible(c) || c == ' ') {
            return Err(SaslError::Unusable("an extension's name has letters, its value is ASCII"));
        }
        message.push_str(name);
        message.push('=');
        message.push_str(value);
        message.push(SEPARATOR);
    }
    message.push(SEPARATOR);
    Ok(message.into_bytes())
}

/// The broker's error as text for people. It is JSON, but no more is needed of it than its words.
pub(super) fn error(answer: &[u8]) -> String {
    let shown = answer.get(..ERROR_BYTES_MAX).unwrap_or(answer);
    let text = String::from_utf8_lossy(shown);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
