"""Builds the compiled part, `eyas/native/compiled.so`: see `eyas.native`.

A plain shared library and no Python module: no header of Python is needed, and one wheel serves
all versions of Python on a platform. Without a C++ compiler the installation goes on without it.
"""

import runpy
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FOLDER = Path("src/eyas/native")
SOURCES = sorted(str(path) for path in FOLDER.glob("*.cpp"))
HEADERS = sorted(str(path) for path in FOLDER.glob("*.h"))
HASH = runpy.run_path(str(FOLDER / "loading.py"))["sources_hash"](FOLDER)

UNIX = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
    "-pthread",
]
MSVC = ["/std:c++17", "/O2", "/EHsc"]


class BuildLibrary(build_ext):
    """Names the file as a library, without the version of Python, and asks for no PyInit."""

    def get_ext_filename(self, fullname: str) -> str:
        suffix = ".dll" if sys.platform == "win32" else ".so"
        return str(Path(*fullname.split("."))) + suffix

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return ext.export_symbols

    def build_extension(self, ext: Extension) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = MSVC if msvc else UNIX
        ext.extra_link_args = [] if msvc else ["-pthread"]
        super().build_extension(ext)


class AnyPython(bdist_wheel):
    """A wheel of this platform for every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            "eyas.native.compiled",
            SOURCES,
            depends=HEADERS,
            define_macros=[("EYAS_SOURCES", f'"{HASH}"')],
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": AnyPython},
)
