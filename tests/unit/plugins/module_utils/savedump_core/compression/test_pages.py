# SPDX-License-Identifier: Apache-2.0
"""Pages are what went in, by the real compressors' bytes, and damage is told, never followed."""

import base64
import os
import random
import subprocess
import zlib

import pytest

from savedump_core.compression import _libzstd, _program, pages, zstd
from savedump_core.errors import BadDump, ToolMissing
from support import kdumpwriter as w


def content(size=4096):
    """Zeros, repeats near and far, words and noise, so that every kind of instruction is in what is made of it. The
    vectors below were made of just this."""
    noise = random.Random(1)

    def below(number):
        # randrange draws otherwise before Python 3.2 and may again one day; bits are bits.
        return noise.getrandbits(30) % number

    out = b""
    while len(out) < size:
        kind = below(5)
        if kind == 0:
            out += bytes(below(300))
        elif kind == 1:
            out += b"%x," % noise.getrandbits(20)
        elif kind == 2:
            start = below(len(out) + 1)
            out += out[start : start + below(70)]
        elif kind == 3:
            out += b"word%d " % below(9)
        else:
            out += noise.getrandbits(64).to_bytes(8, "little")[: below(8)]
    return out[:size]


PAGE = content()
LARGE = content(65536)

# Of PAGE, by liblzo2 2.10 (lzo1x_1_compress, lzo1x_999_compress) and libsnappy 1.1.9 (snappy_compress).
LZO_1 = base64.b85decode(
    "00~N1w~=>ma%3|gWHTT)Gchq_EE~+urk0E@03g-?01Ae8Z*pWbAT8wtazi~Jh7<$|H)J$oEV-V82HmGfcs37VW@2PEEM_<{GcYV-"
    "Ib<<6EOY`Oi3|V_W-vBnGb}h{I5;ybH8?kBWGrwp00K84V=`l8H!Nl|V>UD_*@-"
    "Xhby<D_Gaz&T1u!5#o|zekjVF`?0`R2r9tt25TMM>mG$#xJAPOJ=Y!C}LAZQ#k`NXBP-|)ppT4VwM0x%%FC-"
    "A*&e>G%gVq`4Wx%%O!dLRi<0b~d>OaUMX2mv6vqyTp#G9cr4000IyAU9++V>m1~IWjXWVlpviEIio|w4zEe^aCIXYzZ;&069ni1n@I5HZv?_z&"
    ">&kF(5g(03e-c00AkAhJzpy1Ooy$H8?q8jClbzAOHX$0)P&9C?^060b@8hWV8ndFd$_zWMg40x1k^s5CR~!$N&vEW@0rmEH-"
    "2@G&C$_HDxiGEHxkp2nt{=1TY{rIb<|BAZM-^uel&vqy~K<GtegiH!?XjAX`ub3Y)iGEo5UhVlgb2er7gI1Yi~fH6SrHG-YHmtO9rgCm;<V0(2"
    "S#K&mt}V>MzjC;>JE0wBL!00}Z?G%`6X+!9bqh{7NstOI;800A=~eYo94W1jFgG&VOiEHyGVWj??Kcm^$)4j>X#0s%H+V=*8jL<<9@LF>Be^&m"
    "@-B_JT&1t4qy0SYxWG&L;s#F7Nf>6ry+I|Mc$VPrXDWgzR+4In|l1_x$2V=y=@V`DR9AR|l+AVItWAP9s30y8-"
    ">Gc_X^AOHwBAUz2fR4P3H0000000000000000000001*HH"
)
LZO_999 = base64.b85decode(
    "8%kKWk#}!$WHTU001G!WF)?H;8_dq8mW(a{Al3l@hIk<bG$1YI1ad<?AchqLHvlXKVl26yg9hEFNPGbgVP;}vHY{d1F*7hMVmV|nH!L8H4+ds1"
    "HVC5%EI4F1I5R9YI5%cwEO0Ua0yiLIGGk;nEM_xfHZ&~Ri7)MSS*%xd00l50Kc1Nxhm9u?0Rr%(@*WBx5?c$lXfz-"
    "b%mQo>3pgNX95ngFrL^Dh#YbAS5(T^`@V#t*HDpLK1T5FN`r)T~AR<fwAlGmXFLwkoAme!eHUN1517tO0I4n0gGBYe<GBIW>JlPPmqDmkfYzZI"
    "@Gy((gGcq<aEZ{zF3Naucxab7|DT;=JAQPMt0yQ`}VJx6FAOwI8D*+5+0S{!f2L~`9Win)AVJx?yAmktnfB+3RW@0rmEH-"
    "2@G&C$_HDxh@B{d)i2nw|-"
    "HUd~QIUr}Q7_Ye?UTqOG&?f;mGC4IMTTlcFo3~vpWMejBF)WvUW;(zE1vMZsH8f>pEFdCw8bGQGkz+MtAdcK1AUp#AGG;UYf&?tw5>QHr!XPGm"
    "2@ZX@-9=-b@HaFzH#ICZGB#yCzy&dw4j>X#0s%H+V=*8jL<<9@LF>Be^&m@-"
    "B_OQ<05t^b2Q@79#F7Nf>6rzz;sRl0Ib&rY>(mV(K>+|}1Y89$I4omhGh{U&t>FbTAu=pAETq2!JqZ|8Dm^fa01*HH"
)
SNAPPY = base64.b85decode(
    "fFNi}ShtaPZ*pWaAY?NjH#0FYWGoxZ&Zd@(E&%=k0R900{s92m0RRAoArBlhAT8wtazj1-"
    "1_AyC0h$H@EH`8{Vl26yg9hEFNFldGVP;}vHY{d1F*7hMVmV|nH!J}b{s92~0RW}}07PamHe@p_IAl0DGb}YYH)dokA(c!wAY(FPWH&5kGh;S1"
    "EZK=K?R8lJ7z8sQ0R|i}AU~d&8HbG(<`D3t@*WDx*8&K(Xfzc>ssR82gfuuHXdE>8#HF;~@Wn@30TN6wAiO8=y=;FqWM*PyEZ4dE;ir10RR94("
    "Qd9t@Lje8(0R900{s91L0RSN$2r?k!0S8<*AU9++V>m1~IWjXWVlpviEIio|w4zE%{s5+20!lpqY5@Qg@G~+tGb}Oj0hI(XAZjlF{s92~0RZ*^"
    "01PRLhJ(t&01!7dI5}Zu%m_9h0FI#pAxCuq3}ZMsWC=bbFd$_zWMg40x1q{~0R900{s92~0RUP706aKmVl^@>He@k0G%RH`WicgZ05zV20wHM_"
    "Fd#NLWHdScEC&882GJ}8uetuJ0qUv&ArJsFEj<i3GC4K=6#?!Q0Wh1lT`go|HexX>mwskm6afLT7&Ra<H8f>pPOJa{A9YEJo(32|sx&lXHDXRn"
    "0R900{s92~0RY|s04y?QG%`6X+!9bqh{Em!0VM<>kVrEieYo94W1jFgG&VOiEHyGVWqxr10XI6Q1Im^F3^rn8G5*p5LDC$hLF>Be^&SfTWeKKb"
    "3H|{9{s92~0RT1u05CN*G&L;s#F7Nf>6rx~+ZZ+=VPrXDW&U;p{&oZYb_4!)11@$0{s91n0RSXsIb$$5EMsFcWd0NbVHExW0R9009RUzCIWjXf"
    "5(fwzI3PU<7*r}fMx6i"
)

CASES = (
    [("lzo", LZO_1, PAGE), ("lzo", LZO_999, PAGE), ("snappy", SNAPPY, PAGE)]
    + [
        (name, pack(page), page)
        for name, pack in sorted(w.PACK.items())
        for page in (bytes(4096), b"x" * 900 + bytes(64636))
    ]
    + [("zlib", zlib.compress(page), page) for page in (PAGE, LARGE)]
)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_page_is_what_went_in(case):
    method, packed, page = CASES[case]
    assert pages.unpack(method, packed, len(page)) == page


@pytest.mark.parametrize("case", range(len(CASES)))
def test_cut_page_is_damaged(case):
    method, packed, page = CASES[case]
    for size in range(0, len(packed), max(1, len(packed) // 150)):
        with pytest.raises(BadDump):
            pages.unpack(method, packed[:size], len(page))


@pytest.mark.parametrize("case", range(len(CASES)))
def test_page_of_another_size_is_damaged(case):
    method, packed, page = CASES[case]
    for size in (1, len(page) - 1, len(page) + 1):
        with pytest.raises(BadDump):
            pages.unpack(method, packed, size)


@pytest.mark.parametrize("method", ["lzo", "snappy", "zlib", "zstd"])
def test_changed_bytes_give_a_page_or_damage(method):
    for name, packed, page in CASES:
        for number in range(100 if name == method else 0):
            dice = random.Random("%s %d" % (method, number))
            changed = bytearray(packed)
            for _ in range(dice.randrange(1, 5)):
                changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            try:
                assert len(pages.unpack(method, bytes(changed), len(page))) == len(page)
            except BadDump:
                pass


@pytest.mark.parametrize("method", ["lzo", "snappy", "zlib", "zstd"])
def test_noise_and_nothing(method):
    for data in [b"", b"\0", b"\xff", bytes(4096), b"\xff" * 4096] + [os.urandom(4096) for _ in range(50)]:
        with pytest.raises(BadDump):
            pages.unpack(method, data, 4096)


def test_bomb_costs_no_more_than_a_page():
    """What claims more than a page is given up at the page's end."""
    for method, bomb in (
        ("lzo", b"\x12a" + b"\x20" + bytes(60000) + b"\x01\0\0" + b"\x11\0\0"),
        ("snappy", b"\x80\x20\0a" + b"\xfe\x01\0" * 60000),
        ("zlib", zlib.compress(bytes(50 << 20))),
    ):
        with pytest.raises(BadDump):
            pages.unpack(method, bomb, 4096)


def test_zstd_by_every_way_there_is(monkeypatch):
    """The library, then the program; and without either it is said what to install."""
    packed = subprocess.run(["zstd", "-qc"], input=PAGE, stdout=subprocess.PIPE, check=True).stdout
    assert pages.unpack("zstd", packed, 4096) == PAGE
    monkeypatch.setattr(_libzstd, "library", lambda: None)
    monkeypatch.setattr(zstd, "_module", lambda: None)
    assert pages.unpack("zstd", packed, 4096) == PAGE
    with pytest.raises(BadDump):
        pages.unpack("zstd", packed[:-3], 4096)
    monkeypatch.setattr(_program, "have", lambda program: False)
    with pytest.raises(ToolMissing, match="zstd"):
        pages.unpack("zstd", packed, 4096)
