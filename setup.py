"""Builds the compiled modules; all else stands in pyproject.toml, which cannot say that one source is compiled several times.

They are optional: without a compiler the install succeeds, and reference implementations run.
"""

from __future__ import annotations

import platform
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LEVELS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
}
"""Compilations of a core.cpp, by name, and their flags. The module.cpp beside it chooses among them where it runs."""
# Contraction lets a*b+c be one instruction, which loses no accuracy; square roots need not report to errno.
FLAGS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden"]
STABLE = not sysconfig.get_config_var("Py_GIL_DISABLED")
"""One binary for Python 3.11 and later, but for the free-threaded build, which has no stable interface."""


class BuildKernel(build_ext):
    """Adds a core that stands beside a module, compiled once for each level."""

    def build_extension(self, ext: Extension) -> None:
        core = Path(ext.sources[0]).with_name("core.cpp")
        if not core.exists():
            super().build_extension(ext)
            return
        compiler = [*self.compiler.compiler_so, *ext.extra_compile_args]
        # A universal build for macOS compiles for two processors at once, so it can take no flag of either.
        x86 = platform.machine() in {"x86_64", "AMD64"} and compiler.count("-arch") < 2
        if x86:
            ext.define_macros.append(("TIDECAST_X86", "1"))
        for name in LEVELS if x86 else ["baseline"]:
            ext.extra_objects += self.compiler.compile(
                [str(core)],
                output_dir=str(Path(self.build_temp, name)),
                macros=[("TIDECAST_LEVEL", name)],
                extra_postargs=[*FLAGS, *LEVELS[name]],
                depends=ext.depends,
            )
        super().build_extension(ext)


def extension(name: str, source: Path) -> Extension:
    """An optional module from one source and what stands beside it."""
    return Extension(
        name,
        sources=[str(source)],
        depends=sorted(str(path) for path in [*source.parent.glob("*"), *Path("models/kernel").glob("*.h")]),
        extra_compile_args=FLAGS,
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if STABLE else [],
        py_limited_api=STABLE,
        language="c++",
        optional=True,
    )


setup(
    ext_modules=[
        extension("models._kernel", Path("models/kernel/module.cpp")),
        extension("models._observer", Path("models/observer/module.cpp")),
        extension("stream._encode", Path("stream/native/encode.cpp")),
    ],
    cmdclass={"build_ext": BuildKernel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE else {},
)
