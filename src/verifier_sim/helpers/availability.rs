//! Which program types may call which helper, by kernel. Measured by loading a call of each helper.

use crate::verifier_sim::spec::{Kernel, ProgType};

/// Helpers that both types may call on Linux 6.18.
const BOTH: [u8; 86] = [
    1, 2, 3, 5, 6, 7, 8, 12, 14, 15, 16, 17, 22, 25, 35, 37, 42, 55, 80, 87, 88, 89, 93, 94, 105, 106, 107, 108, 109,
    112, 113, 114, 115, 117, 118, 120, 122, 123, 125, 130, 131, 132, 133, 134, 136, 137, 138, 139, 140, 141, 148, 149,
    153, 154, 156, 157, 158, 160, 164, 165, 169, 170, 171, 172, 175, 176, 177, 178, 180, 181, 182, 191, 194, 195, 196,
    197, 198, 199, 200, 201, 202, 203, 208, 209, 210, 211,
];
/// Helpers that only SK_MSG may call.
const SK_MSG: [u8; 7] = [60, 61, 62, 63, 71, 90, 91];
/// Helpers that only SOCK_OPS may call.
const SOCK_OPS: [u8; 11] = [46, 49, 53, 57, 59, 70, 81, 96, 142, 143, 144];

/// Whether programs of type `prog` may call helper `number`.
pub(in crate::verifier_sim) fn available(number: i32, prog: ProgType, kernel: Kernel) -> bool {
    let Ok(number) = u8::try_from(number) else { return false };
    let _ = kernel;
    BOTH.contains(&number)
        || match prog {
            ProgType::SK_MSG => SK_MSG.contains(&number),
            ProgType::SOCK_OPS => SOCK_OPS.contains(&number),
            _ => false,
        }
}
