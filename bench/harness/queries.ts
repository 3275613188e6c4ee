/** The analytical queries of the benchmarks, in words that Freshet and bare DuckDB both understand. */
export const queries: Readonly<Record<string, string>> = {
  'venue totals': `select venue, count(*) as trades, sum(size) as shares, avg(price) as price
    from trades group by venue order by venue`,
  'one-minute bars': `select date_trunc('minute', "at") as minute, arg_min(price, "at") as open, max(price) as high,
      min(price) as low, arg_max(price, "at") as close, sum(size) as volume
    from trades group by minute order by minute`,
  'busiest seconds': `select second, venue, notional, rank() over (partition by venue order by notional desc) as place
    from (select date_trunc('second', "at") as second, venue, sum(notional) as notional from trades group by all)
    qualify place <= 3 order by venue, place, second`,
  'price spread': `select condition, count(*) as trades, quantile_cont(price, [0.05, 0.5, 0.95]) as price, stddev(size) as spread
    from trades where not suspicious group by condition order by trades desc, condition`,
  'one exchange, one minute': `select id, price, size from trades
    where venue = 'Q' and "at" >= '2013-10-07T00:00:20Z' and "at" < '2013-10-07T00:00:40Z' order by notional desc, id limit 20`,
}
