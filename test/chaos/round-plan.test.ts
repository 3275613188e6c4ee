import { expect, test } from 'vitest'
import { seededRandom } from '../../packages/freshet/test/simulation/seeded-random.ts'
import { RoundPlanner } from './round-plan.ts'

const plansOf = (seed: number) => {
  const planner = new RoundPlanner(seededRandom(seed))
  return Array.from({ length: 300 }, () => planner.next())
}

test('a seed gives the same deeds again, and another one others', () => {
  expect(plansOf(7)).toEqual(plansOf(7))
  expect(plansOf(7)).not.toEqual(plansOf(8))
})

test('every process is killed and frozen, in every company', () => {
  const deeds = new Set(plansOf(1).map(({ deed, roles }) => `${deed} ${roles.toSorted().join()}`))
  expect([...deeds].toSorted()).toEqual([
    'freeze engine',
    'freeze gateway',
    'freeze supervisor',
    'kill engine',
    'kill engine,gateway',
    'kill engine,gateway,supervisor',
    'kill engine,supervisor',
    'kill gateway',
    'kill gateway,supervisor',
    'kill supervisor',
    'orphan engine,supervisor',
  ])
})

test('no process dies so often under one supervisor that this would wait before it starts it again', () => {
  const deaths = new Map<string, number>()
  for (const { deed, roles } of plansOf(2)) {
    if (roles.includes('supervisor') && deed !== 'freeze') deaths.clear()
    else if (deed === 'kill') for (const role of roles) deaths.set(role, (deaths.get(role) ?? 0) + 1)
    expect(Math.max(0, ...deaths.values())).toBeLessThan(5)
  }
})
