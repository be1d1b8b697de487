//! The testbed on the real kernel: redirection, sidecars, and that nothing stays behind. Needs root.

mod redirect;
