/** The function of the benchmark `transform`, in the worker and in the loop that it is measured against. */
export function identity<Event>(event: Event): Event {
  return event
}
