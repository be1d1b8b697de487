//! What the test binaries share. Each includes this directory by its path: a guest of the kernel matrix needs nothing but
//! the binaries.

pub(crate) mod agent;
pub(crate) mod binary;
pub(crate) mod bpffs;
pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod feature;
pub(crate) mod link;
pub(crate) mod machine;
pub(crate) mod nested;
pub(crate) mod wait;
