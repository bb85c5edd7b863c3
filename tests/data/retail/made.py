"""Made-up orders in the form of Online Retail II, with everything odd that it holds."""

import numpy as np
import pandas as pd

ORIGIN = pd.Timestamp("2009-11-29")
DAY = pd.Timedelta(days=1)
SECOND = pd.Timestamp("2010-12-01")
KINDS = (
    "BAG BASKET BOTTLE BOWL BOX CANDLE CARD CLOCK CUSHION DOILIE FRAME HOLDER HOOK KIT "
    "LAMP MAGNET MUG NAPKIN PARASOL PLATE"
).split()
FINER = ("LUNCH", "STORAGE", "RED", "TEA")  # RED is no finer kind
ODD = ("POST", "M", "D", "ADJUST", "TEST001", "23444")


def products() -> pd.DataFrame:
    """Twelve products a kind, from the 2nd on ever later in the shop."""
    rows = []
    for k, kind in enumerate(KINDS):
        for i in range(12):
            code = f"{20000 + 40 * k + i}{'A' if i % 3 == 0 else ''}"
            text = f"{FINER[i % 4]} {kind} {i}"
            launch = 0 if i < 6 else 120 * (i - 6) + 6 * k
            rows.append((code, text, 0.5 + 0.3 * i + 0.1 * k, launch))
    return pd.DataFrame(rows, columns=["code", "text", "price", "launch"])


def lines(seed: int = 0, customers: int = 24) -> pd.DataFrame:
    """A raw table: invoice lines in order of time, from day 2 to day 740."""
    rng, goods = np.random.default_rng(seed), products()
    rows, invoice = [], 489434
    for customer in range(customers):
        every = 8 + 2.5 * customer
        country = ("United Kingdom", "France", "EIRE")[customer % 3]
        fond = rng.permutation(len(goods))[:120]
        day = 2 + rng.exponential(every)
        while day < 740:
            hour, minute = rng.integers(8, 20), rng.integers(0, 60)
            stamp = ORIGIN + int(day) * DAY + pd.Timedelta(hours=hour, minutes=minute)
            known = [i for i in fond if goods["launch"][i] <= day]
            for i in rng.choice(known, rng.integers(1, 8)):
                good, pieces = goods.loc[i], int(rng.integers(1, 40))
                code = good["code"].lower() if rng.random() < 0.1 else good["code"]
                text = good["text"] + (" NEW LAMP" if rng.random() < 0.05 else "")
                price = 0.0 if rng.random() < 0.03 else round(good["price"], 2)
                ids = (str(invoice), code, text, pieces, stamp, price)
                rows.append((*ids, 12346 + 3 * customer, country))
                if rng.random() < 0.06:  # some of it comes back
                    back = stamp + rng.integers(1, 20) * DAY
                    number = f"C{invoice}" if back < SECOND else None
                    ids = (number, code, text, -int(rng.integers(1, pieces + 1)), back)
                    rows.append((*ids, price, 12346 + 3 * customer, country))
                stamp += pd.Timedelta(minutes=int(rng.random() < 0.05))
            if rng.random() < 0.3:
                odd = str(rng.choice(ODD))
                ids = (str(invoice), odd, "POSTAGE", 1, stamp, 18.0)
                rows.append((*ids, 12346 + 3 * customer, country))
            invoice += 1
            if rng.random() < 0.2:  # a guest
                ids = (str(invoice), "20000A", "LUNCH BAG 0", 3, stamp, 9.0)
                rows.append((*ids, None, country))
                invoice += 1
            day += 1 + rng.exponential(every)
    names = (
        "InvoiceNo StockCode Description Quantity InvoiceDate UnitPrice CustomerID "
        "Country"
    )
    frame = pd.DataFrame(rows, columns=names.split()).astype({"CustomerID": "Int32"})
    frame = frame[frame["InvoiceDate"] < ORIGIN + 741 * DAY]
    return frame.sort_values("InvoiceDate", kind="stable", ignore_index=True)


def plain(raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sales and returns by rules written anew: day, code, money; one row a line."""
    frame = raw[raw["CustomerID"].notna() & raw["StockCode"].notna()].copy()
    frame["code"] = [code.upper() for code in frame["StockCode"]]
    digits = np.array([code[:5].isdigit() for code in frame["code"]])
    frame = frame[digits & ~frame["code"].isin(["23444", "23574"])]
    frame["day"] = (frame["InvoiceDate"].dt.normalize() - ORIGIN) // DAY
    frame["money"] = frame["Quantity"] * frame["UnitPrice"]
    back = frame[frame["Quantity"] < 0]
    back = back.assign(money=-back["money"], Quantity=-back["Quantity"])
    return frame[frame["money"] > 0], back
