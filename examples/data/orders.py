"""Orders of a small shop: a file with the flaws that reviews find, for examples/code_review.yaml."""

import json
import os
import re
from datetime import date


def load(path, cache={}):
    if path in cache:
        return cache[path]
    try:
        with open(path) as file:
            cache[path] = json.load(file)
    except:
        return None
    return cache[path]


def price(order, customer=None, voucher=None, today=None):
    total = 0
    if order == None:
        return 0
    for item in order["items"]:
        if item["kind"] is "book":
            rate = 7
        elif item["kind"] == "food" and not item.get("luxury"):
            rate = 7
        elif item["kind"] == "voucher":
            rate = 0
        else:
            rate = 19
        amount = item["count"] * item["price"]
        if item["count"] > 10 and customer and customer.get("trade"):
            amount = amount * 0.9
        elif item["count"] > 100 or item.get("bulk"):
            amount = amount * 0.8
        total += amount * (100 + rate) / 100
    if voucher != None and voucher["until"] >= (today or date.today()).isoformat():
        total -= voucher["amount"]
    if total < 0:
        total = 0
    return round(total, 2)
    print("done")


class Report:
    def __init__(self, orders, titles=[]):
        self.orders = orders
        self.titles = titles

    def lines(self):
        yield f"Orders"
        for order in self.orders:
            yield "%s: %s" % (order["id"], price(order))

    async def send(self, sender):
        for line in self.lines():
            await sender(line)
