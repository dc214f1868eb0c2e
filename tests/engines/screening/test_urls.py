"""URLs: found however they are hidden, never where there is none, and judged without wronging an honest sender."""

from __future__ import annotations

import tomllib
from collections import Counter
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mingbai.engines.screening import brands, url_scan
from mingbai.engines.screening.url_hosts import (
    UrlFlag,
    canonical_domain,
    describe_host,
    raw_address,
    split_host,
    suffixes,
    to_ascii,
    to_unicode,
)
from mingbai.engines.screening.urls import find, find_batch

ACCUSING = UrlFlag.LOOKALIKE | UrlFlag.HIDDEN | UrlFlag.RAW_ADDRESS | UrlFlag.SHORTENER


def hosts(text: str) -> list[str]:
    return [url.host.name for url in find(text)]


# ---- finding


@pytest.mark.parametrize(
    ("text", "url", "host", "path"),
    [
        ("请登录http://www.icbc.com.cn查询", "http://www.icbc.com.cn", "www.icbc.com.cn", ""),
        ("点击t.cn/RabcD领取", "t.cn/RabcD", "t.cn", "/RabcD"),
        (
            "see https://a.example.com:8443/x?y=1#z.",
            "https://a.example.com:8443/x?y=1#z",
            "a.example.com",
            ":8443/x?y=1#z",
        ),
        ("(www.example.org/a)", "www.example.org/a", "www.example.org", "/a"),
        ("WWW.Example.COM!", "WWW.Example.COM", "www.example.com", ""),
        ("看片上kkxx.club 快", "kkxx.club", "kkxx.club", ""),
        ("see www.taobao.com.Thanks", "www.taobao.com", "www.taobao.com", ""),
        ("http://中国移动.com/abc点击", "http://中国移动.com/abc", "xn--fiq02ib9d179b.com", "/abc"),
        ("http://www.中国移动.中国点击", "http://www.中国移动.中国", "www.xn--fiq02ib9d179b.xn--fiqs8s", ""),
        ("аpple.com/id", "аpple.com/id", "xn--pple-43d.com", "/id"),
        ("ftp://files.example.net/x", "ftp://files.example.net/x", "files.example.net", "/x"),
        ("http://user:pw@evil.top/a", "http://user:pw@evil.top/a", "evil.top", "/a"),
        ("http://host.unknowntld/x", "http://host.unknowntld/x", "host.unknowntld", "/x"),
    ],
)
def test_plain_urls_are_found_with_their_place(text: str, url: str, host: str, path: str) -> None:
    (found,) = find(text)
    assert (text[found.start : found.end], found.host.name, found.path) == (url, host, path)


@pytest.mark.parametrize(
    ("text", "marked", "host"),
    [
        ("icbc。com。evil。top 点击", "icbc。com。evil。top", "icbc.com.evil.top"),
        ("www点95588点com查", "www点95588点com", "www.95588.com"),
        ("ｗｗｗ．ｅｖｉｌ．ｃｏｍ/ａ", "ｗｗｗ．ｅｖｉｌ．ｃｏｍ/ａ", "www.evil.com"),
        ("w w w . e v i l . c o m", "w w w . e v i l . c o m", "www.evil.com"),
        ("去 e v i l 点 c o m", "e v i l 点 c o m", "evil.com"),
        ("www. evil. com. cn/x", "www. evil. com. cn/x", "www.evil.com.cn"),
        ("evil .com", "evil .com", "evil.com"),
        ("evil[.]com or", "evil[.]com", "evil.com"),
        ("evil (dot) com", "evil (dot) com", "evil.com"),
        ("visit evil dot com now", "evil dot com", "evil.com"),
        ("evil\u200b.com", "evil\u200b.com", "evil.com"),
        ("ev\u00adil.com", "ev\u00adil.com", "evil.com"),
        ("www.evｉl.com", "www.evｉl.com", "www.evil.com"),
        ("𝐞𝐯𝐢𝐥.𝐜𝐨𝐦", "𝐞𝐯𝐢𝐥.𝐜𝐨𝐦", "evil.com"),
        ("ⓔⓥⓘⓛ.com", "ⓔⓥⓘⓛ.com", "evil.com"),
        ("hxxp://evil.com/a", "hxxp://evil.com/a", "evil.com"),
        ("hxxps://evil[.]com", "hxxps://evil[.]com", "evil.com"),
        ("http://www.icbc.com.cn@evil.top/a", "http://www.icbc.com.cn@evil.top/a", "evil.top"),
    ],
)
def test_hidden_urls_are_found_flagged_and_marked_in_the_original(text: str, marked: str, host: str) -> None:
    (found,) = find(text)
    assert (text[found.start : found.end], found.host.name) == (marked, host)
    assert found.flags & UrlFlag.HIDDEN


@pytest.mark.parametrize(
    "text",
    [
        "3.5元 v1.2 版本1.0.3 2015.01.02 1.2.3.4",
        "e.g. i.e. a.m. U.S.A. etc.",
        "ok.thanks",
        "明天见.Bye",
        "see you.in a minute",
        "I love it.so much.No.Me too.is it",
        "report.doc a.zip main.py readme.md photo.jpg 附件.rar",
        "3点30 8点到 下午3点,21点vip专场 12点to13点",
        "好的。OK。bye",
        "我用QQ。微信也行",
        "foo@bar.com a.b@mail.example.com",
        "_ m a i l @ y e a h . n e t",
        "ok. Com 1 level",
        "polka dot dress",
        "Twitter.lol.u take",
        "on Linkedin.If you",
        "http://",
        "http:// 你好",
        "://x",
        "...",
        "",
    ],
)
def test_ordinary_text_holds_no_url(text: str) -> None:
    assert find(text) == []


def test_a_chinese_full_stop_ends_a_host_and_does_not_join_two() -> None:
    assert hosts("访问a.com。www.b.com") == ["a.com", "www.b.com"]
    assert hosts("访问a.com。谢谢") == ["a.com"]


def test_a_full_width_colon_of_a_chinese_keyboard_hides_nothing() -> None:
    (url,) = find("http：//www.example.com/x")
    assert url.flags == UrlFlag.NONE


# ---- raw addresses


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.168.1.1", "192.168.1.1"),
        ("3232235777", "192.168.1.1"),
        ("0xc0a80101", "192.168.1.1"),
        ("0xc0.0xa8.1.1", "192.168.1.1"),
        ("0300.0250.1.1", "192.168.1.1"),
        ("127.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[0:0::1]", "[::1]"),
        ("256.1.1.1", None),
        ("1.2.3.4.5", None),
        ("4294967296", None),
        ("08.1.1.1", None),
        ("a.b", None),
        ("[x]", None),
        ("", None),
    ],
)
def test_addresses_are_read_in_every_form_browsers_take(host: str, address: str | None) -> None:
    assert raw_address(host) == address


def test_raw_addresses_are_flagged_with_a_scheme_or_a_path() -> None:
    text = "http://3232235777/x http://0x7f.1/ http://[::1]:80/a 1.2.3.4:8080/x"
    assert [u.flags for u in find(text)] == [UrlFlag.RAW_ADDRESS] * 4


# ---- judging


@pytest.mark.parametrize(
    ("host", "brand"),
    [
        ("icbc.com.cn.evil.top", "icbc"),
        ("jd.com.evil.top", "jd"),
        ("usps-com-track.top", "usps"),
        ("icbc.evil.top", "icbc"),
        ("usps-redelivery.top", "usps"),
        ("ezpass-tolls.xyz", "usps_ezpass"),
        ("ezpasstolls.xyz", "usps_ezpass"),
        ("icbc888.com", "icbc"),
        ("lcbc.com.cn", "icbc"),
        ("1cbc.com.cn", "icbc"),
        ("paypa1.com", "paypal"),
        ("paypai.com", "paypal"),
        ("rnicrosoft.com", "microsoft"),
        ("pay-pal.com", "paypal"),
        ("facebok.com", "facebook"),
        ("faecbook.com", "facebook"),
        ("taoba0.com", "taobao"),
        ("alipay.xyz", "alipay"),
        ("alipay.com.xyz", "alipay"),
        ("apple-support.top", "apple"),
        ("app1e.com", "apple"),
        ("dhl-parcel.info", "dhl"),
        ("hmrc-tax-refunds.ru", "gov_uk"),
        ("hmrc.gov.login1-uk.com", "gov_uk"),
        ("gov.uk.enuk-gb.ga", "gov_uk"),
        ("yibao-renzheng.top", "gov_nhsa"),
        ("etc-renzheng.cn", "etc_toll"),
        ("wap95588.com", "icbc"),
        ("usps-redelivery.pages.dev", "usps"),
        ("xn--pple-43d.com", "apple"),
        ("xn--fiq02ib9d179b.com", "china_mobile"),  # 中国移动
    ],
)
def test_lookalikes_are_flagged_with_the_brand(host: str, brand: str) -> None:
    found = describe_host(host)
    assert found.flags & UrlFlag.LOOKALIKE
    assert found.brand == brand


def test_official_hosts_and_all_below_them_are_never_flagged() -> None:
    data = files("mingbai.engines.screening").joinpath("data/brands.toml").read_text("utf-8")
    for brand, entry in tomllib.loads(data)["brand"].items():
        for domain in entry["domains"]:
            for host in (domain, f"www.{domain}", f"a.b.{domain}"):
                assert describe_host(host).flags == UrlFlag.OFFICIAL, host
                assert describe_host(host).brand == brand
                assert not any(u.flags & ACCUSING for u in find(f"请登录 http://{host}/x 。")), host
            if domain.rpartition(".")[2] not in suffixes().classes or len(split_host(domain)[0]) > 1:
                continue  # a brand's own top-level domain and the like are known only behind http://
            for host in (domain, f"www.{domain}"):
                assert not any(u.flags & ACCUSING for u in find(f"请登录 {host.replace('.', '。')}")), host


HONEST = (
    "amazon.de amazon.co.uk dhl.fr fedex.com.au google.co.jp ebay.it hsbc.co.in paypal.de booking.com airbnb.fr "
    "douban.com zhihu.com 163.com 126.com sohu.com ifeng.com youku.com csdn.net gitee.com xinhuanet.com people.com.cn "
    "cctv.com tsinghua.edu.cn pku.edu.cn beijing.gov.cn sz.gov.cn 12388.gov.cn 58.com ganji.com lianjia.com "
    "anjuke.com elong.com tuniu.com 12308.com hupu.com autohome.com.cn yiche.com zhaopin.com 51job.com liepin.com "
    "hujiang.com xueersi.com zuche.com ppzuche.com e95555.cn mobilebj.cn d-j.me mengliao.cc kuwo.cn kugou.com "
    "ximalaya.com migucloud.com wanda.cn ikea.cn starbucks.com.cn bbc.co.uk nytimes.com cnn.com wikipedia.org "
    "mozilla.org python.org debian.org stackoverflow.com reddit.com medium.com zoom.us slack.com notion.so canva.com "
    "shopify.com stripe.com cloudflare.com digitalocean.com oracle.com ibm.com intel.com nasa.gov europa.eu who.int "
    "un.org harvard.edu mit.edu ox.ac.uk singapore.gov nus.edu.sg flipkart.com bluedart.in irctc.co.in paypay.ne.jp "
    "allpay.net upsidedown.com startups.com groups.io backups.net signups.org applebees.com appletree.co.uk "
    "chaser.com pineapple.org purchase.com showcase.com cosco.com telstar.com horizon.com shopify.com "
    "finance.yahoo.com barclay.org postbank.de citybank.com.bd lineage.com online.net booklet.com tracker.net "
    "amazonas.gov.br rainforest.org chasewater.co.uk dhlawyers.com.au upstate.edu jdsports.co.uk facebooth.co.uk "
    "apples.com orange.fr target.com discover.com shell.com way2sms.com fullonsms.com gothere.sg verycd.com way.com "
    "macmillan.com mit.edu miss.com tooltips.net parceljs.org "
)


@pytest.mark.parametrize("host", sorted(set(HONEST.split())))
def test_honest_hosts_are_not_flagged(host: str) -> None:
    assert not describe_host(host).flags & ACCUSING, describe_host(host)


def test_shorteners_are_flagged_and_those_of_a_brand_are_official() -> None:
    assert [u.flags for u in find("http://bit.ly/x t.cn/x https://a.page.link/x")] == [UrlFlag.SHORTENER] * 3
    assert [u.flags for u in find("amzn.to/x http://m.tb.cn/x u.jd.com/x")] == [UrlFlag.OFFICIAL] * 3


def test_registrable_domain_knows_registries_and_hosting() -> None:
    assert [describe_host(h).domain for h in ("a.b.com.cn", "x.co.uk", "a.b.github.io", "co.uk", "a.evil.top")] == [
        *("b.com.cn", "x.co.uk", "b.github.io", "co.uk", "evil.top")
    ]
    assert split_host("a.b.co.uk") == (["a", "b"], "co.uk")


def test_key_is_of_the_registrable_domain_and_stable() -> None:
    assert describe_host("a.evil.top").key == describe_host("b.evil.top").key != describe_host("evil.xyz").key
    assert describe_host("evil.top").key == 14317825057319486955


def test_canonical_domains() -> None:
    assert canonical_domain("*.Example.COM") == "example.com"
    assert canonical_domain(".中国移动.com") == "xn--fiq02ib9d179b.com"
    assert [canonical_domain(bad) for bad in ("a/b", "http://a.com", "a..b", "-a.com", "", "a b", "x" * 64)] == [
        None
    ] * 7
    assert to_unicode("xn--fiq02ib9d179b.com") == "中国移动.com"
    assert to_ascii("a." * 130 + "com") is None


def test_data_files_are_consistent() -> None:
    text = files("mingbai.engines.screening").joinpath("data/suffixes.txt").read_text("utf-8")
    counts = Counter(s for line in text.splitlines() if not line.startswith(("#", "[")) for s in line.split())
    assert [s for s, n in counts.items() if n > 1] == []
    sure = {s for s, kind in suffixes().classes.items() if kind == "sure"}
    # `url_scan._is_sure_suffix` has them spelt out.
    assert sure == {"com", "cn", "xyz", "icu", "cyou", "hk", "tw"}
    assert len(brands.brands()) >= 150


# ---- equality and bounds, whatever the text

parts = st.sampled_from(
    [
        *(
            "http://",
            "https://",
            "hxxp://",
            "http：／／",
            "www",
            "wap",
            "icbc",
            "evil",
            "a",
            "1",
            "com",
            "cn",
            "top",
            "中国",
            "x.co.uk",
        ),
        *(
            ".",
            "。",
            "．",
            "点",
            " dot ",
            "[.]",
            "(.)",
            " . ",
            ". ",
            "·",
            "\u200b",
            "\u00ad",
            " ",
            "/",
            "/p?q=1",
            ":80",
            "@",
            "-",
        ),
        *(
            "ｗｗｗ",
            "ｃｏｍ",
            "①",
            "é",
            "д",
            "𝐚",
            "🇨",
            "，",
            "你好",
            "OK",
            "[::1]",
            "1.2.3.4",
            "0x7f",
            "\ud800",
            "e\u0301",
            "\n",
        ),
    ]
)
texts = st.one_of(st.text(max_size=60), st.lists(parts, max_size=14).map("".join))


@given(texts)
@example("www." + "a" * 300 + ".com")
@example("http://" + "a." * 200 + "com")
@example("." * 500)
@example("a" * 5000 + ".com")
def test_places_are_within_the_text_and_in_order(text: str) -> None:
    at = 0
    for url in find(text):
        assert at <= url.start < url.end <= len(text)
        at = url.end
        assert url.host.name == describe_host(url.host.name).name
        assert url.host.name.isascii()
        assert len(url.host.name) <= 253


@given(st.lists(texts.filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t)), max_size=12))
def test_a_batch_gives_for_each_row_what_a_single_text_gives(batch: list[str]) -> None:
    column = pa.array(["skipped", *batch], pa.string()).slice(1)
    table = find_batch(column, np.arange(len(batch)))
    expected = [(row, url) for row, text in enumerate(batch) for url in find(text)]
    assert list(zip(table.rows.tolist(), table.urls, strict=True)) == expected
    assert table.flags.tolist() == [int(url.flags) for _, url in expected]
    assert table.keys.tolist() == [url.host.key for _, url in expected]


@given(texts.filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t)))
def test_candidates_are_told_from_bytes_within_the_row_only(text: str) -> None:
    """The bytes around a row, which belong to other messages, make no difference."""
    kinds = []
    for before, after in (("", ""), ("www.", ".com"), ("a.b", "://x")):
        content = (before + text + after).encode()
        data = np.frombuffer(content + b"\0", np.uint8)
        start = len(before.encode())
        offsets = np.array([start, start + len(text.encode())], np.int64)
        out = np.empty(1, np.uint8)
        url_scan.candidate_kinds(data, offsets, np.zeros(1, np.int64), out, url_scan.TABLES)
        kinds.append(int(out[0]))
    assert len(set(kinds)) == 1


@given(texts, st.integers(0, 40))
@example("http://evil.com/a", 9)
@example("a.x.co.uk:80 ｗｗｗ.evil.com", 16)
def test_plain_words_before_a_text_only_move_what_is_found(text: str, words: int) -> None:
    """The scanner skips plain words block by block; wherever a URL lies in a block, it is found all the same."""
    before = ("plain-words " * 4)[:words] + "\n"
    moved = [url._replace(start=url.start + len(before), end=url.end + len(before)) for url in find(text)]
    assert find(before + text) == moved


def test_a_row_of_hosts_is_found_whole() -> None:
    text = " ".join(f"http://h{i}.example.com/{i}" for i in range(400))
    assert [u.path for u in find(text)] == [f"/{i}" for i in range(400)]
    assert find_batch(pa.array([text]), np.zeros(1, np.int64)).rows.tolist() == [0] * 400
