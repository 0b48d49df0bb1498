"""The traits that libvirt hosts have by themselves, by the names of os-traits."""

from typing import Final

# By CPU feature, without HW_CPU_X86_, as nova's ``CPU_TRAITS_MAPPING`` has them.
CPU_FEATURES: Final = {
    **{n: n.upper() for n in ("avx", "avx2", "fma4", "f16c", "mmx", "sse", "sse2", "ssse3", "sse4a", "xop", "3dnow")},
    **{n: n.upper() for n in ("abm", "tbm", "bmi2", "mpx", "sgx", "vmx", "svm", "stibp", "pdpe1gb")},
    **{f"avx512{n}": f"AVX512{n.upper()}" for n in ("f", "cd", "pf", "er", "vl", "bw", "dq", "vbmi", "ifma", "vbmi2")},
    "avx512vnni": "AVX512VNNI",
    "avx512bitalg": "AVX512BITALG",
    "avx512-vpopcntdq": "AVX512VPOPCNTDQ",
    "vaes": "AVX512VAES",
    "gfni": "AVX512GFNI",
    "vpclmulqdq": "AVX512VPCLMULQDQ",
    "pni": "SSE3",
    "sse4.1": "SSE41",
    "sse4.2": "SSE42",
    "pclmuldq": "CLMUL",
    "fma": "FMA3",
    "bmi1": "BMI",
    "aes": "AESNI",
    "sha-ni": "SHA",
    "rtm": "TSX",
    "hle": "TSX",
    "amx-bf16": "AMXBF16",
    "amx-int8": "AMXINT8",
    "amx-tile": "AMXTILE",
}
# What the provider makes on every host.
COMPUTE: Final = (
    "COMPUTE_CONFIG_DRIVE_REGENERATION",
    "COMPUTE_IMAGE_TYPE_ISO",
    "COMPUTE_IMAGE_TYPE_QCOW2",
    "COMPUTE_IMAGE_TYPE_RAW",
    "COMPUTE_NET_ATTACH_INTERFACE",
    "COMPUTE_NET_VIF_MODEL_E1000",
    "COMPUTE_NET_VIF_MODEL_E1000E",
    "COMPUTE_NET_VIF_MODEL_RTL8139",
    "COMPUTE_NET_VIF_MODEL_VIRTIO",
    "COMPUTE_STORAGE_BUS_SATA",
    "COMPUTE_STORAGE_BUS_SCSI",
    "COMPUTE_STORAGE_BUS_VIRTIO",
    "COMPUTE_VOLUME_EXTEND",
)
THREADS: Final = "HW_CPU_HYPERTHREADING"
HOST_TRAITS: Final = frozenset({*COMPUTE, THREADS, *map("HW_CPU_X86_{}".format, CPU_FEATURES.values())})
