//! ECDSA signatures: devices and libraries give `r` and `s` side by side, SSH wants two numbers (RFC 5656, 3.1.2).

use ssh_key::encoding::Encode as _;
use ssh_key::{Algorithm, EcdsaCurve, Mpint, Signature};

use super::SignError;

/// The signature whose halves, each as long as the curve's order, are `raw`.
pub(super) fn signature(curve: EcdsaCurve, raw: &[u8]) -> Result<Signature, SignError> {
    let half = match curve {
        EcdsaCurve::NistP256 => 32,
        EcdsaCurve::NistP384 => 48,
        EcdsaCurve::NistP521 => 66,
    };
    let (r, s) = raw.split_at_checked(half).ok_or(SignError::Computation)?;
    if s.len() != half {
        return Err(SignError::Computation);
    }
    let mut data = Vec::new();
    for number in [r, s] {
        Mpint::from_positive_bytes(number).encode(&mut data).map_err(ssh_key::Error::from)?;
    }
    Ok(Signature::new(Algorithm::Ecdsa { curve }, data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_numbers_with_their_sign_and_without_leading_zeros() {
        let mut raw = [0; 64];
        (raw[0], raw[63]) = (0x80, 7);
        let made = signature(EcdsaCurve::NistP256, &raw).unwrap();
        let mut expected = vec![0, 0, 0, 33, 0, 0x80];
        expected.extend([0; 31]);
        expected.extend([0, 0, 0, 1, 7]);
        assert_eq!(made.as_bytes(), expected);
    }

    #[test]
    fn halves_of_another_length_are_refused() {
        for length in [0, 32, 63, 65, 96] {
            assert!(signature(EcdsaCurve::NistP256, &vec![1; length]).is_err(), "{length}");
        }
    }
}
