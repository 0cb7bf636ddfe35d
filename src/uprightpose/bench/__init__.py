"""Side-by-side timings: outputs agree first, then contenders take turns in one process."""
