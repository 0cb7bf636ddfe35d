"""What SPEC 5.2 measured on Figures 1, 4 and 8: our numbers are printed beside these."""

HEAD, WRIST, ANKLE = "head / center", "l.wrist / l.shoulder", "l.ankle / l.hip"
"""A joint / what it is seen from."""

EXPECTED: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    (HEAD, "LSPET"): {
        "n": (5281,),
        "trace": (0.893, 0.193),
        "resultant": (0.34, 0.94),
        "entropy": (1.41, -0.03),
    },
    (HEAD, "LSP-OC test"): {
        "n": (999,),
        "trace": (0.295, 0.055),
        "resultant": (0.85, 0.99),
        "entropy": (-0.06, -1.21),
    },
    (HEAD, "MPII validation"): {
        "n": (2856,),
        "trace": (0.357, 0.151),
        "resultant": (0.89, 0.97),
        "entropy": (0.20, -0.64),
    },
    (HEAD, "LSP-OC"): {"body/raw": (0.18,)},
    (WRIST, "LSPET"): {
        "n": (4817,),
        "trace": (1.153, 1.208, 0.410),
        "resultant": (0.24, 0.15, 0.90),
        "entropy": (2.07, 2.12, 0.76),
    },
    (WRIST, "LSP-OC test"): {
        "n": (997,),
        "trace": (0.514, 0.575, 0.206),
        "resultant": (0.55, 0.47, 0.88),
        "entropy": (1.20, 1.35, 0.34),
    },
    (WRIST, "LSP-OC"): {
        "body/raw": (1.09,),
        "limb/raw": (0.41,),
        "raw": (0.490,),
        "random rotation": (0.695,),
        "angle of another person": (0.623,),
        "true angle": (0.203,),
        "own direction": (0.103,),
    },
    (ANKLE, "LSPET"): {
        "n": (4856,),
        "trace": (1.782, 1.470, 0.750),
        "resultant": (0.26, 0.52, 0.81),
        "entropy": (2.55, 2.34, 1.60),
    },
    (ANKLE, "LSP-OC test"): {
        "n": (998,),
        "trace": (0.658, 0.632, 0.337),
        "resultant": (0.81, 0.84, 0.92),
        "entropy": (1.17, 1.27, 0.77),
    },
}
"""SPEC 5.2 by joint and data: counts, statistics raw -> body -> limb, trace ratios, controls."""

EXPECTED_ANGLES = {
    "MPII validation": {"> 30": 14.1, "> 90": 1.9, "resultant": 0.91},
    "LSP-OC": {"> 30": 19.0, "> 90": 6.2, "resultant": 0.83},
    "LSPET": {"> 30": 56.5, "> 90": 32.8, "resultant": 0.31},
}
"""SPEC 5.2 on Figure 8: percent of people turned by more, and the angles' mean resultant."""
